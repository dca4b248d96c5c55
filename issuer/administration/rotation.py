"""Secrets that rotate themselves: what is due gets its next version, holds end, overdue deliveries are said.

    rotate_due      an account whose `nextCredentialRotation` has come gets its next version, pending, for its driver to read
    end_holds       a predecessor held for `maxHoldHours` enters its grace period, as if acknowledged at that instant
    note_overdue    a newest version that waits for its driver for days is said to be overdue, once

Each step takes what it finds in batches, one transaction each, and decides again inside of it, on what the account is and
the policies say by then. Rows another replica holds are left to it, so any number of replicas may do this at once, and none
does it twice. A crash leaves a batch undone or done. Between two batches the rotator rests much longer than it worked: tokens
are issued on the same loop and the same database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from issuer.administration.authorize import SYSTEM
from issuer.administration.secrets import SecretKeeper
from issuer.administration.writing import Write, WritePath
from issuer.credentials import UNDELIVERED_DAYS, Versions, make_next, settle
from issuer.events import DeliveryOverdue, Event, SecretHoldEnded, SecretRotated, WorkFailed, place_of
from issuer.model.resource import Resource
from issuer.model.times import parse_time
from issuer.settings import ScheduleSettings
from issuer.store.clock import Clock
from issuer.store.database import DatabaseUnavailable
from issuer.store.resources import Change
from issuer.store.rotation import accounts_with_ended_holds, accounts_with_overdue_deliveries, due_accounts
from issuer.store.secrets import Rewritten, load_versions_of, save_versions

BATCH = 20
"""Accounts a transaction rotates: so few that no token waits noticeably for their share of the loop."""
_REST = 4.0
"""How many times longer than a batch took the rotator rests after it: a fifth of the time is its at most."""

Found = Callable[[Write, datetime], Awaitable[list[Resource]]]
Step = Callable[[Resource, Versions, datetime], tuple[Versions, list[Event]]]
"""What becomes of an account's versions, and what there is to say once it is written."""


class SecretRotation:
    """The controllers of secrets. `clock` is the database's, so that replicas agree on what is due."""

    def __init__(self, path: WritePath, keeper: SecretKeeper, schedule: ScheduleSettings, clock: Clock) -> None:
        self._path = path
        self._keeper = keeper
        self._undelivered = timedelta(seconds=UNDELIVERED_DAYS * schedule.day_s)
        self._clock = clock

    async def rotate_due(self) -> None:
        """Rotates what is due, the longest due first; what is not due after all is scheduled anew."""
        await self._all("rotate", lambda write, now: due_accounts(write.connection, now, BATCH), self._next_version)

    async def end_holds(self) -> None:
        """Writes what holds that have ended mean: tokens followed at that instant, status and listings do now."""
        await self._all(
            "end hold", lambda write, now: accounts_with_ended_holds(write.connection, now, BATCH), self._hold_ended
        )

    async def note_overdue(self) -> None:
        """Says of each version that waits too long for its driver that it does: a condition's message, and an event."""

        async def found(write: Write, now: datetime) -> list[Resource]:
            return await accounts_with_overdue_deliveries(write.connection, now - self._undelivered, BATCH)

        await self._all("note overdue delivery", found, self._overdue)

    def _next_version(self, account: Resource, versions: Versions, now: datetime) -> tuple[Versions, list[Event]]:
        """One more version, if one is due by what account and policies say now."""
        stated = self._keeper.stated(account, versions, now)
        planned = stated.status.get("nextCredentialRotation")
        if planned is None or parse_time(planned) > now:
            return versions, []
        after = make_next(versions, self._keeper.terms(account), now)
        return after, [SecretRotated(account.client_id, account.namespace, account.name, after[-1].version)]

    def _hold_ended(self, account: Resource, versions: Versions, now: datetime) -> tuple[Versions, list[Event]]:
        after = settle(versions, self._keeper.terms(account), now)
        if after == versions:
            return versions, []
        return after, [SecretHoldEnded(account.client_id, account.namespace, account.name, after[-1].version)]

    def _overdue(self, account: Resource, versions: Versions, now: datetime) -> tuple[Versions, list[Event]]:
        newest = versions[-1]
        if not newest.readable or newest.overdue_at is not None:
            return versions, []
        waits_s = round((now - newest.created_at).total_seconds())
        event = DeliveryOverdue(account.client_id, account.namespace, account.name, newest.version, waits_s)
        return (*versions[:-1], replace(newest, overdue_at=now)), [event]

    async def _all(self, verb: str, found: Found, step: Step) -> None:
        """Batch after batch until one is not full, or changed nothing."""
        elapsed_s = self._path.sources.elapsed_s
        more = True
        while more:
            began = elapsed_s()
            more = await self._batch(verb, found, step) == BATCH
            if more:
                await asyncio.sleep((elapsed_s() - began) * _REST)

    async def _batch(self, verb: str, found: Found, step: Step) -> int:
        """How many accounts were changed."""
        said: list[Event] = []
        rewritten: list[Rewritten] = []
        changes: list[Change] = []
        async with self._path.write(SYSTEM, verb) as write:
            now = await self._clock(write.connection)
            accounts = await found(write, now)
            versions_of = await load_versions_of(write.connection, [account.uid for account in accounts])
            for account in accounts:
                await asyncio.sleep(0)  # tokens are issued on the same loop
                try:
                    change, versions, events = self._taken(step, account, versions_of[account.uid], now)
                except DatabaseUnavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - one account must not stop the others
                    subject = f"{account.namespace}/{account.name}"
                    said.append(WorkFailed("secret rotation", subject, type(error).__name__, place_of(error)))
                    continue
                said += events
                changes += [change] if change.before != change.after or versions.before != versions.after else []
                rewritten += [versions] if versions.before != versions.after else []
            await save_versions(write.connection, *rewritten)
            newest = {each.account_uid: each.after[-1].version for each in rewritten}
            if changes:
                await write.commit(
                    *changes, note=lambda account: {"version": newest[account.uid]} if account.uid in newest else {}
                )
        for event in said:
            self._path.emit(event)
        return len(changes)

    def _taken(
        self, step: Step, account: Resource, before: Versions, now: datetime
    ) -> tuple[Change, Rewritten, list[Event]]:
        """A step taken on one account, not yet written."""
        after, events = step(account, before, now)
        made = {version.version for version in after} - {version.version for version in before}
        new = {version: self._keeper.make(account, version) for version in made}
        stated = self._keeper.stated(account, after, now)
        return Change(account, stated), Rewritten(account.uid, before, after, new), events
