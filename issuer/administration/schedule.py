"""When a secret is rotated, pure: from what is known of an account to the instant its next secret is due.

House rules: the instant is always a parameter, and what was planned once stays planned, so that a backlog is spread once and
not pushed on for ever. Whole seconds, as the status says them: what people read is what is acted on.
"""

from datetime import datetime, timedelta
from uuid import UUID

from issuer.credentials import MAX_LIVE_VERSIONS, SecretState, Versions, live_versions
from issuer.model.times import format_time

SPREAD_DAYS = 7
"""Over how long at most a backlog is spread: accounts whose rules became stricter than their secrets are old."""

_SECOND = timedelta(seconds=1)


def next_rotation(
    uid: UUID, versions: Versions, rhythm: tuple[timedelta, timedelta], planned: datetime | None, now: datetime
) -> datetime | None:
    """When the account's next secret is due; None while an overdue one waits for its driver: then none is made.

    `rhythm`: the effective interval, and over how long a backlog is spread. `planned`: what this said before. `versions`:
    settled ones, at least one.

    It is an interval after the newest version was made. Where that is past already and nothing was planned for these days,
    it is the rules that have changed, and probably for many accounts: each gets its own place in the days to come, the same
    from every replica.
    """
    interval, spread = rhythm
    due = (versions[-1].created_at + interval).replace(microsecond=0)
    if due > now:
        return due
    if versions[-1].state_at(now) is SecretState.PENDING:
        return None
    place = (now + spread * (uid.int / 2**128)).replace(microsecond=0)
    if planned is not None and planned <= now + spread:
        place = planned
    live = live_versions(versions, now)
    if len(live) < MAX_LIVE_VERSIONS:
        return place
    first_end = min(version.retires_at for version in live if version.retires_at is not None)
    return max(place, first_end.replace(microsecond=0) + _SECOND)


def delivery_note(versions: Versions) -> str | None:
    """What holds back an undelivered newest version's predecessor, and since when it waits; None where all is as it should be.

    It says nothing of a first version that is not overdue: nobody can have missed it.
    """
    newest = versions[-1]
    if newest.acknowledged_at is not None or (newest.version == 1 and newest.overdue_at is None):
        return None
    said = f"version {newest.version} waits for its driver since {format_time(newest.created_at)}"
    if newest.overdue_at is not None:
        said = f"overdue: {said}"
    held = [version.version for version in versions[:-1] if version.retires_at is None]
    if newest.activated_at is not None and newest.activated_at == newest.hold_until:
        return f"{said}; its hold has ended, older versions retire whether it is stored or not"
    if newest.activated_at is not None:
        return f"{said}; it is used, but nobody said that it is stored"
    if not held:
        return said
    at_the_latest = f", or its hold ends at {format_time(newest.hold_until)}" if newest.hold_until is not None else ""
    return f"{said}; version {held[-1]} stays in force until that is acknowledged or used{at_the_latest}"
