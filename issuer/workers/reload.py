"""Keeps the snapshot and the directory true.

House rules:

- Polling one row is the truth; a write of this process asks for an early look, nothing else is needed for correctness.
- What changed is read from the change log: changed accounts are forgotten, anything else rebuilds the snapshot.
- A snapshot comes from one repeatable read, and one read at a time: the last one read is the newest.
- Another identity of the database, or a revision that fell, means failover or restore: everything is dropped and read anew.
- What cannot be read keeps the last good snapshot in force and says so. Nothing is served before the first good one.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from issuer.administration.bootstrap import KEY_PURPOSE, PEPPER_PURPOSE, NotBootstrapped
from issuer.directory import Directory
from issuer.events import Emit, SnapshotLoaded, SnapshotStale, WorldReplaced
from issuer.policy.catalogue import Catalogue, Limits, compile_scope
from issuer.policy.ceilings import compile_policy, index_policies
from issuer.settings import ScheduleSettings
from issuer.signing.keyring import KeyRecord, active_key, published_keys
from issuer.signing.sealing import MasterKey, MasterKeyError, SealError
from issuer.signing.signer import Signer
from issuer.snapshot import Governance, Snapshot
from issuer.sources import Sources
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.installation import read_master_key_check
from issuer.store.schema import SchemaError, require_schema
from issuer.store.world import Pulse, WorldRows, read_changed, read_pulse, read_world

STALE_AFTER_S = 1.0

_IN_THE_WAY: Mapping[type[Exception], str] = {
    DatabaseUnavailable: "the database does not answer",
    MasterKeyError: "the master key is not the one this database was bootstrapped with",
    SealError: "something sealed does not open under this master key",
}


class Reloader:
    """Owns the current snapshot. `catch_up` brings it to a revision, `run` keeps it there."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        compiler: "Compiler",
        sources: Sources,
        emit: Emit,
        poll_s: float,
        max_outage_s: float,
    ) -> None:
        self._database = database
        self._directory = directory
        self._compiler = compiler
        self._sources = sources
        self._emit = emit
        self._poll_s = poll_s
        self._max_outage_s = max_outage_s
        self._lock = asyncio.Lock()
        self._identity: tuple[str, ...] | None = None
        self._seen = -1
        self._snapshot: Snapshot | None = None
        self._why_not_ready: str | None = "nothing was read from the database yet"
        self._good_at = sources.elapsed_s()
        self._reported: str | None = None

    def snapshot(self) -> Snapshot | None:
        """The world as last read; None before the first good read, and once the outage window is spent."""
        return None if self._outage_s() > self._max_outage_s else self._snapshot

    def _outage_s(self) -> float:
        return self._sources.elapsed_s() - self._good_at

    @property
    def why_not_ready(self) -> str | None:
        """None when tokens can be issued, else what is missing, in plain words."""
        if self._snapshot is not None and self.snapshot() is None:
            return f"the database could not be followed for {self._max_outage_s:g} s (outage.max_s)"
        return self._why_not_ready

    async def catch_up(self, revision: int = 0) -> None:
        """Returns when everything up to `revision` is in force here.

        Raises DatabaseUnavailable, and until the first good read also SchemaError, NotBootstrapped and MasterKeyError.
        """
        async with self._lock:
            if self._snapshot is not None and 0 < revision <= self._seen:
                return
            async with self._database.transaction() as connection:
                if self._identity is None:
                    await require_schema(connection)
                pulse = await read_pulse(connection)
            await self._follow(pulse)
            self._good_at = self._sources.elapsed_s()
            self._why_not_ready = None
            self._reported = None

    async def run(self) -> None:
        """Polls for ever. Trouble is reported once it costs freshness, and what it waits for is looked for again."""
        while True:
            await self.hasten()
            await asyncio.sleep(self._poll_s)

    async def hasten(self, revision: int = 0) -> None:
        """`catch_up`, unless something is in its way: then that is noted, and the next poll tries again.

        What writers call after their commit: it holds whether or not this process could look at it yet.
        """
        try:
            await self.catch_up(revision)
        except (DatabaseUnavailable, SchemaError, NotBootstrapped, MasterKeyError, SealError) as error:
            self._note_trouble(error)

    def _note_trouble(self, error: Exception) -> None:
        why = str(error)
        if self._snapshot is None:
            # Readiness is open to everybody and carries no names; the event has the details.
            self._why_not_ready = _IN_THE_WAY.get(type(error), why)
        age = self._outage_s()
        if age > STALE_AFTER_S and self._reported != why:
            self._emit(SnapshotStale(round(age, 3), why))
            self._reported = why

    async def _follow(self, pulse: Pulse) -> None:
        if not pulse.bootstrapped:
            raise NotBootstrapped
        if pulse.identity != self._identity or pulse.revision < self._seen:
            await self._read_world()
            # Accounts follow the snapshot in the same breath: a world that cannot be read leaves the last one whole.
            self._directory.clear()
            if self._identity is not None:
                self._emit(WorldReplaced("identity" if pulse.identity != self._identity else "revision"))
            self._identity, self._seen = pulse.identity, pulse.revision
        elif pulse.revision > self._seen:
            async with self._database.transaction() as connection:
                changed = await read_changed(connection, self._seen)
            # Accounts first: a world that cannot be compiled must not keep a disabled account alive.
            if changed.uids is None:
                self._directory.clear()
            else:
                self._directory.invalidate(changed.uids)
            if changed.world:
                await self._read_world()
            self._seen = pulse.revision

    def swap(self, snapshot: Snapshot) -> None:
        """From here on this is the world."""
        self._snapshot = snapshot
        self._emit(SnapshotLoaded(snapshot.revision, len(snapshot.published)))

    async def _read_world(self) -> None:
        async with self._database.transaction(isolation="REPEATABLE READ") as connection:
            check = await read_master_key_check(connection)
            rows = await read_world(connection)
        if check is not None:
            self._compiler.master_key.check(check)
        self.swap(self._compiler.snapshot(rows))


class Compiler:
    """Rows become what the token path reads. Opens what is sealed; a signer is made once for each key."""

    def __init__(self, master_key: MasterKey, limits: Limits, schedule: ScheduleSettings, sources: Sources) -> None:
        self.master_key = master_key
        self._limits = limits
        self._schedule = schedule
        self._sources = sources
        self._signers: dict[str, Signer] = {}
        self._governance: Governance | None = None
        self._made_of: object = None

    def snapshot(self, rows: WorldRows) -> Snapshot:
        """The snapshot of these rows. Raises SealError."""
        now = self._sources.now()
        sealed = {key.record.kid: key.sealed for key in rows.keys}
        records = [key.record for key in rows.keys]
        signers = {}
        for keyset in rows.keysets:
            active = active_key([record for record in records if record.keyset == keyset.name], now)
            if active is not None:
                signers[keyset.name] = self._signer(active, sealed[active.kid])
        self._signers = {signer.kid: signer for signer in signers.values()}
        return Snapshot(
            revision=rows.revision,
            governance=self._governance_of(rows),
            signers=MappingProxyType(signers),
            keyset_by_audience=MappingProxyType(
                {
                    audience: keyset.name
                    for keyset in rows.keysets
                    if keyset.name in signers
                    for audience in keyset.spec["audiences"]
                }
            ),
            published=MappingProxyType({record.kid: record.public_jwk for record in published_keys(records, now)}),
            terminating=rows.terminating,
            peppers=MappingProxyType(
                {
                    pepper_id: self.master_key.unseal(blob, purpose=PEPPER_PURPOSE, owner=pepper_id)
                    for pepper_id, blob in rows.peppers
                }
            ),
        )

    def _governance_of(self, rows: WorldRows) -> Governance:
        """The same object as before while nothing it is made of has changed: accounts stay compiled."""
        made_of = (
            tuple((each.uid, each.revision) for each in (*rows.scopes, *rows.policies)),
            tuple(sorted((name, tuple(sorted(labels.items()))) for name, labels in rows.namespace_labels.items())),
        )
        if self._governance is None or made_of != self._made_of:
            scopes = {scope.spec["scope"]: compile_scope(scope.name, scope.spec) for scope in rows.scopes}
            self._governance = Governance(
                Catalogue(self._limits, MappingProxyType(scopes)),
                index_policies(map(compile_policy, rows.policies), rows.namespace_labels),
                self._schedule.hour_s,
            )
            self._made_of = made_of
        return self._governance

    def _signer(self, record: KeyRecord, sealed: bytes) -> Signer:
        known = self._signers.get(record.kid)
        if known is not None:
            return known
        pem = self.master_key.unseal(sealed, purpose=KEY_PURPOSE, owner=record.kid)
        return Signer(record.kid, record.algorithm, pem)
