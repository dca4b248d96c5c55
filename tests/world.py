"""A wired issuer in the test's own process: both apps over ASGI, every event kept, a clock that only tests move."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import httpx

from issuer.events import Event
from issuer.model.scopes import ADMIN_AUDIENCE
from issuer.settings import load_settings
from issuer.sources import system_sources
from issuer.store.database import Connection
from issuer.wiring import Foundation, Issuer, lay_foundation, wire
from tests.canary.shapes import assert_no_secret
from tests.databases import ISSUER, Bootstrapped

if TYPE_CHECKING:
    from issuer.observe.spans import Spans

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/{namespace}/serviceaccounts"
SCOPES = "/apis/auth.nauthera.io/v1alpha1/scopes"
NAMESPACES = "/api/v1/namespaces"
TOKEN = "/oauth2/token"


@dataclass
class Clock:
    """An instant that stands still. It starts now, so that what the template was bootstrapped with lies in its past."""

    instant: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=1))  # noqa: TID251

    def now(self) -> datetime:
        return self.instant

    def advance(self, **parts: float) -> None:
        self.instant += timedelta(**parts)


@dataclass
class World:
    """An issuer under test. `public` and `admin` are HTTP clients of its two ports; `admin` carries an admin token."""

    issuer: Issuer
    foundation: Foundation
    clock: Clock
    events: list[Event]
    public: httpx.AsyncClient
    admin: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    bootstrapped: Bootstrapped
    database_url: str

    def seen(self, kind: type[Event]) -> list[Any]:
        """The events of one type, oldest first."""
        return [event for event in self.events if type(event) is kind]

    async def namespace(self, name: str) -> None:
        """Creates a namespace."""
        answer = await self.admin.post(NAMESPACES, json={"metadata": {"name": name}})
        assert answer.status_code in {201, 409}, answer.text

    async def account(
        self, name: str = "api", namespace: str = "payments", *, labels: Mapping[str, str] | None = None, **spec: Any
    ) -> "Client":
        """Creates an account (and its namespace), takes and acknowledges its first secret."""
        await self.namespace(namespace)
        document = {"metadata": {"name": name, "labels": dict(labels or {})}, "spec": {"scopes": ["api:read"], **spec}}
        answer = await self.admin.post(ACCOUNTS.format(namespace=namespace), json=document)
        assert answer.status_code == 201, answer.text
        path = f"{ACCOUNTS.format(namespace=namespace)}/{name}"
        secret = await self.admin.post(f"{path}/credentials", json={"acknowledge": True})
        assert secret.status_code == 201, secret.text
        return Client(self, path, secret.json()["clientId"], secret.json()["clientSecret"])

    async def token(self, client_id: str, client_secret: str, **form: Any) -> httpx.Response:
        """Asks for a token with client_secret_basic."""
        data = {"grant_type": "client_credentials", **form}
        return await self.public.post(TOKEN, data=data, headers={"authorization": basic(client_id, client_secret)})

    async def admin_token(self) -> str:
        """A token for the admin API, as the bootstrapped administrator."""
        admin = self.bootstrapped.admin
        answer = await self.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def renew_admin(self) -> None:
        """A fresh admin token, after the clock was moved."""
        self.admin.headers["authorization"] = f"Bearer {await self.admin_token()}"


@dataclass
class Client:
    """An account as its workload knows it. `path`: the account in the admin API."""

    world: World
    path: str
    client_id: str
    secret: str = field(repr=False)

    async def token(self, **form: Any) -> httpx.Response:
        """Asks for a token with client_secret_basic."""
        return await self.world.token(self.client_id, self.secret, **form)


def basic(client_id: str, client_secret: str) -> str:
    """The Authorization header of RFC 6749 section 2.3.1."""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()).decode()


@asynccontextmanager
async def started_world(
    database_url: str,
    bootstrapped: Bootstrapped,
    clock: Clock | None = None,
    spans: "Spans | None" = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A World on a bootstrapped database. Of its workers only the record runs; the others are called by who needs them.

    When it ends there must be no secret in its events, nor was one in an error.
    """
    clock = clock or Clock()
    events: list[Event] = []
    sources = replace(system_sources(), now=clock.now, elapsed_s=lambda: clock.now().timestamp())
    loaded = load_settings(
        **{
            "url": ISSUER,
            "database_url": database_url,
            "master_key": bootstrapped.master_key,
            # Nothing polls in here but a request that waits for the next poll, and tests move the clock by days.
            "outage": {"max_s": 1e12},
            **settings,
            "database": {"poll_s": 0.01, **settings.get("database", {})},
        }
    )

    async def standing(_: Connection) -> datetime:
        return clock.now()

    foundation = lay_foundation(loaded, events.append, sources)
    timing = replace(foundation.timing, outage_s=min(300, foundation.timing.outage_s))
    foundation = replace(foundation, clock=standing, timing=timing)
    issuer = wire(foundation, spans=spans)
    recording: asyncio.Task[None] | None = None
    try:
        await issuer.reloader.catch_up()
        assert await issuer.recorder.open(), issuer.recorder.why_not_durable
        recording = asyncio.create_task(issuer.recorder.run())
        async with (
            _client(issuer.public, "http://public.test") as public,
            _client(issuer.admin, "http://admin.test") as admin,
            _client(issuer.admin, "http://admin.test") as anonymous,
        ):
            world = World(issuer, foundation, clock, events, public, admin, anonymous, bootstrapped, database_url)
            await world.renew_admin()
            yield world
            assert_no_secret(repr(events), "the events")
    finally:
        if recording is not None:
            recording.cancel()
            await asyncio.gather(recording, return_exceptions=True)
        await issuer.close()


def _client(app: Any, base_url: str) -> httpx.AsyncClient:
    hooks = {"response": [_assert_no_secret_in_error]}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base_url, event_hooks=hooks)


async def _assert_no_secret_in_error(answer: httpx.Response) -> None:
    if answer.is_error:
        await answer.aread()
        assert_no_secret(answer.text, f"an answer of {answer.status_code}")
