"""The public port without a database: the real app over ASGI, on a snapshot and accounts that a test writes down."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hmac import digest
from typing import Any
from urllib.parse import quote_plus, urlencode
from uuid import UUID, uuid4

import httpx

from issuer.credentials import SecretVersion
from issuer.directory import Directory
from issuer.events import Event, TokenIssued, TokenRefused
from issuer.issuance import Issuance
from issuer.model.kinds import SERVICE_ACCOUNT, parse_manifest
from issuer.model.resource import Resource, client_id_of, parse_client_id
from issuer.policy.catalogue import Catalogue, CataloguedScope, Limits
from issuer.policy.ceilings import index_policies
from issuer.protocol.authentication import METHODS
from issuer.protocol.request import WireRequest
from issuer.protocol.source import Network
from issuer.ratelimit import Rates
from issuer.signing.signer import Signer, generate_key
from issuer.snapshot import Account, Governance, Snapshot
from issuer.sources import system_sources
from issuer.store.database import DatabaseUnavailable
from issuer.web.public import public_app

ISSUER = "https://issuer.example"
TOKEN_PATH = "/oauth2/token"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
PEPPERS: Mapping[str, bytes] = {"p1": b"pepper of the tests, 32 bytes ok"}
SECRET = "isk1_correct"
API = "https://api.example"
KNOWN_NAMESPACES: Mapping[str, Mapping[str, str]] = {"payments": {}, "leaving": {}, "issuer-system": {}}

Form = Mapping[str, str] | Iterable[tuple[str, str]] | bytes


def basic(client_id: str, secret: str) -> str:
    """Both form-encoded, then joined and encoded (RFC 6749 section 2.3.1)."""
    return raw_basic(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode())


def raw_basic(joined: bytes) -> str:
    """Whatever stands before base64."""
    return "Basic " + b64encode(joined).decode()


def compiled_account(
    uid: UUID,
    *,
    name: str = "api",
    namespace: str = "payments",
    secrets: Iterable[str] = (SECRET,),
    terminating: bool = False,
    **spec: Any,
) -> Account:
    """An account of a manifest, with these secrets, all of them active."""
    document = {"metadata": {"name": name}, "spec": {"scopes": ["api:read", "api:write", "openid"], **spec}}
    manifest = parse_manifest(SERVICE_ACCOUNT, document, namespace=namespace, name=None, methods=frozenset(METHODS))
    resource = Resource(
        SERVICE_ACCOUNT.api_version, SERVICE_ACCOUNT.kind, namespace, name, uid, NOW, spec=manifest.spec
    )
    return Account(
        replace(resource, deleted_at=NOW if terminating else None),
        tuple(
            (SecretVersion(version, NOW, activated_at=NOW), "p1", digest(PEPPERS["p1"], secret.encode(), "sha256"))
            for version, secret in enumerate(secrets, 1)
        ),
    )


@dataclass(frozen=True)
class Ring:
    """An active and a pending key of both KeySets, as bootstrap makes them. Made once: RSA keys are dear."""

    signers: Mapping[str, Signer]
    published: Mapping[str, Mapping[str, Any]]


def generated_ring() -> Ring:
    """Fresh keys."""
    signers: dict[str, Signer] = {}
    published: dict[str, Mapping[str, Any]] = {}
    for keyset, algorithm in (("default", "ES256"), ("rs256", "RS256")):
        active, pending = generate_key(algorithm), generate_key(algorithm)
        signers[keyset] = Signer(active.kid, algorithm, active.private_pem)
        published |= {key.kid: key.public_jwk for key in (active, pending)}
    return Ring(signers, published)


@dataclass(frozen=True)
class Reply:
    """An answer as a client sees it."""

    status: int
    headers: httpx.Headers
    body: dict[str, Any]

    @property
    def error(self) -> tuple[int, str]:
        """Status and OAuth error code."""
        return self.status, self.body["error"]


class Endpoint:
    """One issuer with one account `client_id`, whose secret is `SECRET`; more accounts join by `add`."""

    def __init__(
        self,
        ring: Ring,
        *,
        issuer: str = ISSUER,
        scopes: Mapping[str, CataloguedScope] | None = None,
        terminating: frozenset[str] = frozenset(),
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self.peer = "192.0.2.1"
        self.accounts: dict[UUID, Account] = {}
        self.events: list[Event] = []
        self.recorded: list[TokenIssued] = []
        self.now = NOW
        self.loads = 0
        limits = Limits(default_audience=issuer, default_ttl_s=600, max_ttl_s=86_400)
        self.snapshot = Snapshot(
            revision=1,
            governance=Governance(Catalogue(limits, scopes or {}), index_policies((), KNOWN_NAMESPACES)),
            signers=ring.signers,
            keyset_by_audience={},
            published=ring.published,
            terminating=terminating,
            peppers=PEPPERS,
        )
        self.looks = 0
        self.away = False
        elapsed_s = lambda: self.now.timestamp()  # noqa: E731, PLW0108 - `now` is moved
        sources = replace(system_sources(), now=lambda: self.now, elapsed_s=elapsed_s, token_id=lambda: "a-token-id")
        self.directory = Directory(self._load, 100, elapsed_s)
        self.issuance = Issuance(
            issuer=issuer,
            snapshot=lambda: self.snapshot,
            directory=self.directory,
            sources=sources,
            emit=self.events.append,
            record=self._record,
            note=lambda _: None,
            rates=Rates(100),
            note_first_use=lambda *_: None,
            hasten=self._hasten,
            next_look=self._next_look,
        )
        self.trusted_proxies = trusted_proxies
        self.serve()
        self.client_id = self.add(audiences=[API, "https://ledger.example"])

    async def _record(self, issued: TokenIssued) -> None:
        """The record, which takes everything at once."""
        self.recorded.append(issued)

    def serve(self) -> None:
        """The app on `issuance` as it is now."""
        self.app = public_app(self.issuance, 300, self.trusted_proxies)

    async def _hasten(self) -> None:
        """The snapshot of a test is as new as it gets."""

    async def _next_look(self) -> None:
        """A poll that comes at once; the test has invalidated what it would see."""
        self.looks += 1
        self._require_database()

    async def _load(self, uids: Sequence[UUID]) -> Mapping[UUID, Account]:
        self.loads += 1
        self._require_database()
        return {uid: self.accounts[uid] for uid in uids if uid in self.accounts}

    def _require_database(self) -> None:
        if self.away:
            raise DatabaseUnavailable("ConnectionRefusedError")

    def add(self, **spec: Any) -> str:
        """The client_id of another account."""
        uid = uuid4()
        self.accounts[uid] = compiled_account(uid, **spec)
        return client_id_of(uid)

    def later(self, **parts: float) -> None:
        """The clock moves."""
        self.now += timedelta(**parts)

    def account(self, client_id: str) -> Account:
        """The account behind a client_id."""
        uid = parse_client_id(client_id)
        assert uid is not None
        return self.accounts[uid]

    def cause(self) -> str:
        """Why the last refusal was one, as the record says it."""
        return next(event.failure for event in reversed(self.events) if isinstance(event, TokenRefused))

    async def send(
        self, method: str, path: str, headers: Iterable[tuple[str, str | bytes]] = (), content: bytes = b""
    ) -> httpx.Response:
        """One HTTP request."""
        transport = httpx.ASGITransport(app=self.app, client=(self.peer, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://public.test") as client:
            fields = [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]
            return await client.request(method, path, headers=[(n.encode(), v) for n, v in fields], content=content)

    async def ask(
        self,
        form: Form | None = None,
        *,
        authorization: str | bytes | None = "",
        content_type: str | None = FORM,
        query: str = "",
    ) -> Reply:
        """A token request. `form` None: the shortest good one. `authorization` empty: the right one, None: none."""
        form = {"grant_type": "client_credentials"} if form is None else form
        headers: list[tuple[str, str | bytes]] = []
        if authorization is not None:
            headers.append(("authorization", authorization or basic(self.client_id, SECRET)))
        if content_type is not None:
            headers.append(("content-type", content_type))
        content = form if isinstance(form, bytes) else urlencode(_pairs(form)).encode()
        answer = await self.send("POST", TOKEN_PATH + query, headers, content)
        return Reply(answer.status_code, answer.headers, answer.json())

    async def grant(self, **form: str) -> Reply:
        """A good request with more parameters."""
        return await self.ask({"grant_type": "client_credentials", **form})


def _pairs(form: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(form.items()) if isinstance(form, Mapping) else list(form)


def wire_request(
    body: bytes,
    *,
    authorization: tuple[bytes, ...] = (),
    method: str = "POST",
    content_type: str = FORM,
    query: bytes = b"",
) -> WireRequest:
    """A request as `web.token` hands it over."""
    return WireRequest(method, content_type, query, authorization, body, "192.0.2.1")
