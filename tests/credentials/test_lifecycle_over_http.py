"""The same life through both ports and a real PostgreSQL, in lockstep with the pure functions."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from issuer.administration.secrets import SecretKeeper
from issuer.credentials import Terms
from issuer.model.resource import Resource
from issuer.model.times import format_time
from tests.credentials.life import Answer, SecretLife, Seen
from tests.credentials.pure import PureLife
from tests.databases import Databases
from tests.world import ACCOUNTS, World, started_world

PROFILE = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
NAMESPACE = ACCOUNTS.format(namespace="lives")
HOLD_LABEL = "hold-seconds"


class HttpLife:
    """One account behind HTTP. Every answer is compared with what the pure functions say."""

    def __init__(self, runner: asyncio.Runner, world: World, number: int) -> None:
        self.runner, self.world = runner, world
        self.path = f"{NAMESPACE}/life-{number}"
        self.pure = PureLife()
        self.secrets: dict[int, str] = {}
        self.client_id = ""

    @property
    def now(self) -> Any:
        return self.world.clock.now()

    def begin(self, grace_h: int, hold_s: int | None) -> None:
        self.pure.now = self.now
        self.pure.begin(grace_h, hold_s)
        labels = {HOLD_LABEL: str(hold_s)} if hold_s is not None else {}
        name = self.path.rpartition("/")[2]
        spec = {"scopes": ["a"], "credentialRotation": {"gracePeriodHours": grace_h}}
        answer = self._post(NAMESPACE, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        assert answer.status_code == 201, answer.text
        self.client_id = answer.json()["status"]["clientId"]

    def rotate(self, body: dict[str, Any]) -> Answer:
        answer = self._post(f"{self.path}/credentials", body)
        told = Answer(answer.status_code)
        if answer.status_code == 201:
            told = replace(told, version=self._given(answer.json()))
        assert told == self.pure.rotate(body)
        return told

    def read(self) -> Answer:
        answer = self._run(self.world.admin.get(f"{self.path}/credentials/current"))
        told = Answer(answer.status_code)
        if answer.status_code == 200:
            told = replace(told, version=self._given(answer.json()))
        assert told == self.pure.read()
        return told

    def acknowledge(self, version: int) -> Answer:
        answer = self._post(f"{self.path}/credentials/{version}/acknowledge", None)
        told = Answer(answer.status_code)
        assert told == self.pure.acknowledge(version)
        return told

    def use(self, version: int) -> bool:
        works = self._token(version)
        assert works is self.pure.use(version)
        return works

    def working(self, versions: Iterable[int]) -> set[int]:
        asked = set(versions)
        waiting = dict(self._waiting)
        works = {version for version in asked if self._token(version)}
        # Looking must not count as using.
        self._waiting.clear()
        self._waiting.update(waiting)
        assert works == self.pure.working(asked)
        return works

    def first_uses_are_written(self) -> None:
        self._run(self.world.issuer.first_uses.flush())
        self.pure.first_uses_are_written()

    def first_uses_are_lost(self) -> None:
        self._waiting.clear()
        self.pure.first_uses_are_lost()

    def advance(self, time: timedelta) -> None:
        self.world.clock.instant += time
        self.pure.advance(time)
        self._run(self.world.renew_admin())

    def change_grace(self, hours: int) -> None:
        patch = {"spec": {"credentialRotation": {"gracePeriodHours": hours}}}
        headers = {"content-type": "application/merge-patch+json"}
        answer = self._run(self.world.admin.patch(self.path, json=patch, headers=headers))
        assert answer.status_code == 200, answer.text
        self.pure.change_grace(hours)

    def listing(self) -> tuple[Seen, ...]:
        """As the pure functions have it, to the microsecond; the API says the same in whole seconds."""
        expected = self.pure.listing()
        answer = self._run(self.world.admin.get(self.path))
        listed = answer.json()["status"]["credentials"]
        assert [(each["version"], each["state"], each.get("retiresAt")) for each in listed] == [
            (each.version, each.state, format_time(each.retires_at) if each.retires_at else None) for each in expected
        ]
        assert not any(secret in answer.text for secret in self.secrets.values())
        return expected

    def close(self) -> None:
        self._waiting.clear()

    def _given(self, body: dict[str, Any]) -> int:
        version: int = body["version"]
        secret = self.secrets.setdefault(version, body["clientSecret"])
        assert secret == body["clientSecret"]
        assert list(self.secrets.values()).count(secret) == 1
        return version

    def _token(self, version: int) -> bool:
        answer: httpx.Response = self._run(self.world.token(self.client_id, self.secrets[version]))
        # A correct credential is never throttled; so many retired ones in a moment are.
        assert answer.status_code in {200, 401, 429}, answer.text
        return answer.status_code == 200

    def _post(self, path: str, body: Any) -> httpx.Response:
        answer: httpx.Response = self._run(self.world.admin.post(path, json=body))
        return answer

    @property
    def _waiting(self) -> dict[Any, None]:
        return self.world.issuer.first_uses._waiting

    def _run(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return self.runner.run(awaited())


@contextmanager
def standing_world(databases: Databases) -> Iterator[tuple[asyncio.Runner, World]]:
    """A world that lives as long as a state machine's many examples."""
    with databases.copy() as url, asyncio.Runner() as runner:
        starting = started_world(url, databases.bootstrapped)
        world = runner.run(starting.__aenter__())
        try:
            runner.run(world.namespace("lives"))
            yield runner, world
        finally:
            runner.run(starting.__aexit__(None, None, None))


def terms_with_hold(keeper: SecretKeeper) -> Any:
    """`maxHoldHours` comes with policies; until then an account's label says it here."""
    plain = keeper.terms

    def terms(account: Resource) -> Terms:
        hold_s = account.labels.get(HOLD_LABEL)
        return replace(plain(account), max_hold_s=float(hold_s) if hold_s is not None else None)

    return terms


def test_a_secrets_life_is_the_same_over_http(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_world(databases) as (runner, world):
        monkeypatch.setattr(world.issuer.keeper, "terms", terms_with_hold(world.issuer.keeper))
        numbers = count(1)

        class HttpSecretLife(SecretLife):
            longest_burst = 3

            def __init__(self) -> None:
                super().__init__(HttpLife(runner, world, next(numbers)))

        run_state_machine_as_test(HttpSecretLife, settings=PROFILE)
