"""One write: one transaction, and everything that must follow its commit.

    async with path.write(principal, "create") as write:
        …read and lock, decide…
        await write.commit(Change(before, after))

The last statement takes the revision; after the commit this process's own snapshot catches up before the caller gets its
answer, so that whoever wrote something finds it in force.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from issuer.administration.authorize import Principal
from issuer.events import Emit, ResourceWritten
from issuer.model.resource import Resource
from issuer.sources import Sources
from issuer.store.database import Connection, Database
from issuer.store.resources import AuditEntry, Change, Subject, commit_changes


class _DryRun(Exception):
    """Rolls a dry run back."""


class Write:
    """A write in progress. `commit` is its last statement; without it nothing was changed."""

    def __init__(
        self, connection: Connection, principal: Principal, verb: str, *, dry_run: bool, path: "WritePath"
    ) -> None:
        self.connection = connection
        self.changes: tuple[Change, ...] = ()
        self.dry_run = dry_run
        self.principal = principal
        self.verb = verb
        self._path = path

    async def commit(
        self, *changes: Change, note: Mapping[str, Any] | Callable[[Resource], Mapping[str, Any]] | None = None
    ) -> tuple[Change, ...]:
        """Writes the changes with an audit record each, and a note for all or one by object. The changes with their revisions.

        A dry run goes the same way, so that it refuses what a write would, and is rolled back; its changes get no revision.
        Raises `store.resources.AlreadyExists`.
        """
        entries = [
            (change, self.audit_entry(change.subject, note(change.subject) if callable(note) else note))
            for change in changes
        ]
        written = await commit_changes(self.connection, entries)
        if self.dry_run:
            return changes
        self.changes += written
        return written

    async def commit_one(
        self, before: Resource | None, after: Resource, note: Mapping[str, Any] | None = None
    ) -> Resource:
        """`commit` of one object that exists afterwards."""
        (change,) = await self.commit(Change(before, after), note=note)
        return change.subject

    def audit_entry(self, subject: Resource | Subject, note: Mapping[str, Any] | None = None) -> AuditEntry:
        """Who did what, for the record of this write."""
        return AuditEntry(self._path.sources.event_id(), self.principal.to_json(), self.verb, subject, note=note or {})


class WritePath:
    """Where every administrative change passes. `hasten(revision)` brings this process's snapshot there, if it can."""

    def __init__(
        self, database: Database, sources: Sources, emit: Emit, hasten: Callable[[int], Awaitable[None]]
    ) -> None:
        self.database = database
        self.sources = sources
        self.emit = emit
        self._hasten = hasten

    @asynccontextmanager
    async def write(self, principal: Principal, verb: str, *, dry_run: bool = False) -> AsyncIterator[Write]:
        """A transaction for one write by `principal`."""
        write: Write | None = None
        try:
            async with self.database.transaction() as connection:
                write = Write(connection, principal, verb, dry_run=dry_run, path=self)
                yield write
                if dry_run:
                    raise _DryRun
        except _DryRun:
            return
        if write is None or not write.changes:
            return
        for change in write.changes:
            subject = change.subject
            self.emit(
                ResourceWritten(principal.name, verb, subject.kind, subject.namespace, subject.name, change.revision)
            )
        await self._hasten(write.changes[-1].revision)
