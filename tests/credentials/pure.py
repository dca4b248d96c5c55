"""The life of a secret on the pure functions alone: what the store does is a tuple, what the token path does a comparison."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from issuer.credentials import (
    Handover,
    LifecycleConflict,
    NothingToRead,
    SecretState,
    Terms,
    Versions,
    acknowledge,
    compile_digests,
    first_use,
    first_version,
    hand_out,
    read_current,
    settle,
)
from tests.credentials.life import HOUR_S, TICK, Answer, Seen, edges_of


class PureLife:
    """Versions of one account, and the first uses that wait to be written."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)
        self.terms = Terms(0)
        self.versions: Versions = ()
        self.waiting: set[int] = set()

    def begin(self, grace_h: int, hold_s: int | None) -> None:
        self.terms = Terms(grace_h * HOUR_S, hold_s)
        self.versions = first_version(self.now)

    def rotate(self, body: dict[str, Any]) -> Answer:
        grace_h = body.get("gracePeriodHours")
        try:
            done: Handover = hand_out(
                self.versions,
                self.terms,
                self.now,
                expected_version=body.get("expectedVersion"),
                acknowledge=body["acknowledge"],
                compromised=body["compromised"],
                grace_s=grace_h * HOUR_S if grace_h is not None else None,
            )
        except LifecycleConflict:
            return Answer(409)
        assert done.made is (done.version not in {version.version for version in self.versions})
        self.versions = done.versions
        return Answer(201, done.version)

    def read(self) -> Answer:
        try:
            done = read_current(self.versions, self.terms, self.now)
        except NothingToRead:
            return Answer(404)
        assert not done.made
        self.versions = done.versions
        return Answer(200, done.version)

    def acknowledge(self, version: int) -> Answer:
        if version not in {each.version for each in self.versions}:
            return Answer(404)
        try:
            self.versions = acknowledge(self.versions, version, self.terms, self.now)
        except LifecycleConflict:
            return Answer(409)
        return Answer(200)

    def use(self, version: int) -> bool:
        works = version in self.working([version])
        if works and next(each for each in self.versions if each.version == version).activated_at is None:
            self.waiting.add(version)
        return works

    def working(self, versions: Iterable[int]) -> set[int]:
        accepted = self.accepted_at(self.now)
        return {version for version in versions if accepted.get(version, False)}

    def first_uses_are_written(self) -> None:
        for version in sorted(self.waiting):
            self.versions = first_use(self.versions, version, self.terms, self.now)
        self.waiting.clear()

    def first_uses_are_lost(self) -> None:
        self.waiting.clear()

    def advance(self, time: timedelta) -> None:
        self.now += time

    def change_grace(self, hours: int) -> None:
        self.terms = Terms(hours * HOUR_S, self.terms.max_hold_s)

    def listing(self) -> tuple[Seen, ...]:
        settled = settle(self.versions, self.terms, self.now)
        return tuple(Seen(each.version, each.state_at(self.now).value, each.retires_at) for each in settled)

    def close(self) -> None:
        """Nothing to close."""

    def accepted_at(self, instant: datetime) -> dict[int, bool]:
        """What the token path would accept then, had it heard nothing since."""
        digests = compile_digests([(version, "p1", b"") for version in self.versions], self.terms)
        return {
            each.version: each.accepted_until is None or instant.timestamp() < each.accepted_until for each in digests
        }

    def both_readings_agree(self) -> None:
        """The compiled digests say the same as the states, at this instant and around every instant something ends."""
        instants = [self.now, self.now + timedelta(days=3650)]
        for version in self.versions:
            instants += [each for each in edges_of([version.retires_at, version.hold_until]) if each >= self.now - TICK]
        for instant in instants:
            settled = settle(self.versions, self.terms, instant)
            states = {each.version: each.state_at(instant) is not SecretState.RETIRED for each in settled}
            assert self.accepted_at(instant) == states, instant
