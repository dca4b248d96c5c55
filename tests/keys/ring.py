"""One KeySet of a World as administrators, verifiers and its own worker see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from warnings import catch_warnings

import httpx
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet

from issuer.administration.authorize import SYSTEM
from issuer.model.kinds import KEY_SET
from issuer.model.times import parse_time
from issuer.workers.keyrotation import rotate_signing_keys
from tests.administration.paths import KEYSETS, MERGE
from tests.world import Client, World

LEAD = timedelta(minutes=25)
RETENTION = timedelta(hours=24, minutes=15)


async def work(world: World) -> None:
    """What the worker does once a second, and that every process hears of it."""
    await rotate_signing_keys(world.issuer.key_steps, world.events.append)()
    await world.issuer.reloader.hasten()


@dataclass
class Ring:
    """A KeySet of a World."""

    world: World
    name: str = "default"

    async def keyset(self) -> dict[str, Any]:
        """As the admin API shows it. Read beside the guard: the administrator's own token may have gone with its key."""
        return (await self.world.issuer.reader.get(SYSTEM, KEY_SET, "", self.name)).to_json()

    async def keys(self) -> list[dict[str, Any]]:
        return list((await self.keyset())["status"]["keys"])

    async def states(self) -> list[str]:
        """The state of each key, oldest first."""
        return [key["state"] for key in await self.keys()]

    async def kid(self, state: str) -> str:
        """The one key in this state."""
        (kid,) = [key["kid"] for key in await self.keys() if key["state"] == state]
        return str(kid)

    async def due_in(self, interval: timedelta) -> timedelta:
        """From now: the key that signs has done so since the template was made, which may be minutes ago."""
        (active,) = [key for key in await self.keys() if key["state"] == "active"]
        return parse_time(active["activatedAt"]) + interval - self.world.clock.now()

    async def next(self) -> Mapping[str, str]:
        return dict((await self.keyset())["status"]["next"])

    async def rotate(self, **query: str) -> httpx.Response:
        return await self.world.admin.post(f"{KEYSETS}/{self.name}/rotate", params=query)

    async def compromise(self, kid: str, **query: str) -> httpx.Response:
        return await self.world.admin.post(f"{KEYSETS}/{self.name}/compromise", json={"kid": kid}, params=query)

    async def change(self, **spec: Any) -> httpx.Response:
        return await self.world.admin.patch(f"{KEYSETS}/{self.name}", json={"spec": spec}, headers=MERGE)


async def jwks(world: World) -> dict[str, Any]:
    return dict((await world.public.get("/.well-known/jwks.json")).json())


async def published(world: World) -> list[str]:
    return [key["kid"] for key in (await jwks(world))["keys"]]


async def signed_by(client: Client, **form: str) -> str:
    """The kid of a fresh token, which the JWKS of this moment verifies."""
    answer = await client.token(**form)
    assert answer.status_code == 200, answer.text
    keys = KeySet.import_key_set(await jwks(client.world))  # type: ignore[arg-type]
    with catch_warnings(
        action="ignore", category=SecurityWarning
    ):  # EdDSA is deprecated as a name, not as an algorithm
        read = jwt.decode(answer.json()["access_token"], keys, algorithms=["ES256", "RS256", "EdDSA"])
    return str(read.header["kid"])
