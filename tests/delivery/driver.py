"""A driver of the admin API, as the tests of delivery play it."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg
import httpx

from tests.world import ACCOUNTS, World

MERGE_PATCH = {"content-type": "application/merge-patch+json"}


@dataclass
class Driver:
    """One account, made but not yet delivered."""

    world: World
    path: str
    client_id: str
    admin: httpx.AsyncClient = field(repr=False)

    @property
    def uid(self) -> str:
        return self.client_id.removeprefix("sa-")

    @property
    def namespace(self) -> str:
        return self.path.split("/")[5]

    async def rotate(self, query: str = "", **body: Any) -> httpx.Response:
        return await self.admin.post(f"{self.path}/credentials{query}", json=body)

    async def current(self) -> httpx.Response:
        return await self.admin.get(f"{self.path}/credentials/current")

    async def acknowledge(self, version: int) -> httpx.Response:
        return await self.admin.post(f"{self.path}/credentials/{version}/acknowledge")

    async def given(self, **body: Any) -> str:
        """A secret handed out."""
        answer = await self.rotate(**body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["clientSecret"])

    async def status(self) -> dict[str, Any]:
        answer = await self.admin.get(self.path)
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()["status"]
        return status

    async def states(self) -> dict[int, str]:
        """Version → state."""
        return {each["version"]: each["state"] for each in (await self.status())["credentials"]}

    async def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of one condition."""
        (found,) = (each for each in (await self.status())["conditions"] if each["type"] == kind)
        return found["status"], found["reason"]

    async def works(self, secret: str) -> bool:
        answer = await self.world.token(self.client_id, secret)
        assert answer.status_code in {200, 401}, answer.text
        return answer.status_code == 200

    async def later(self, **parts: float) -> None:
        """The clock moves, the administrator signs in again."""
        self.world.clock.advance(**parts)
        await self.world.renew_admin()


_NUMBERS = count(1)


async def driver_of_new_account(world: World, name: str = "api", namespace: str | None = None, **spec: Any) -> Driver:
    """An account whose version 1 nobody has been given, in a namespace of its own unless one is named."""
    namespace = namespace if namespace is not None else f"payments-{next(_NUMBERS)}"
    await world.namespace(namespace)
    collection = ACCOUNTS.format(namespace=namespace)
    finalizers = spec.pop("finalizers", [])
    document = {"metadata": {"name": name, "finalizers": finalizers}, "spec": {"scopes": ["api:read"], **spec}}
    answer = await world.admin.post(collection, json=document)
    assert answer.status_code == 201, answer.text
    return Driver(world, f"{collection}/{name}", answer.json()["status"]["clientId"], world.admin)


async def fetch(world: World, query: str, *arguments: Any) -> list[asyncpg.Record]:
    """Rows as they lie in the database."""
    connection = await asyncpg.connect(world.database_url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()
