"""Verifying all of the record: records against their chains, chains against checkpoints, checkpoints against their keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from issuer.administration.auditkeys import AuditKeys
from issuer.record.administrative import ADMIN_CHAIN, administrative_bytes
from issuer.record.checkpoint import digest
from issuer.record.decision import to_bytes
from issuer.record.faults import Broken, Fault, Faults, Unfinished
from issuer.record.lines import is_day_file
from issuer.record.statements import Statements, StoredCheckpoint
from issuer.record.verifying import Chains, ToldChain
from issuer.store.evidence import Evidence
from issuer.store.seals import LATEST

EARLIER = timedelta(hours=1)
"""So long before what is asked for looking begins: the first record in view of a chain has nothing it could be held against."""
_SKEW = timedelta(minutes=1)
"""Between the clocks of those who make records and of the database, which stamps checkpoints."""


@dataclass(frozen=True, slots=True)
class Period:
    """Which decisions are looked at, None: without an end there. Of administrative records it is always all."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What somebody kept elsewhere: exported days by name, checkpoints by number as the log told of them; SHA-256 of each."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    checkpoints: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Verified:
    """What came of it. `unproven`: chains whose first record in view was taken as it stands.

    `unchecked`: files that claim to be no day which left the database, and that no checkpoint names, by their names.
    """

    faults: Faults = field(default_factory=Faults)
    unfinished: list[Unfinished] = field(default_factory=list)
    decisions: int = 0
    administrative: int = 0
    chains: int = 0
    unproven: int = 0
    checkpoints: int = 0
    unchecked: list[str] = field(default_factory=list)
    newest: StoredCheckpoint | None = None

    @property
    def newest_digest(self) -> str:
        """As the log has it since the checkpoint was made."""
        return digest(self.newest.text).hex() if self.newest is not None else ""


async def verify(
    evidence: Evidence,
    keys: AuditKeys,
    period: Period,
    witnesses: Witnesses,
    progressed: Callable[[int], None],
) -> Verified:
    """Everything that is wrong, and what is not finished yet.

    Memory grows with the number of chains, not of records. Raises DatabaseUnavailable.
    """
    result = Verified()
    report = result.faults.add
    opened = keys.opened(await evidence.keys())
    for key_id in opened.unusable:
        report(Fault(Broken.KEY_UNUSABLE, f"the key {key_id!r} of the record does not open, or is another one"))
    result.newest = await evidence.newest_checkpoint()
    until = period.until - _SKEW if period.until is not None else None
    statements = Statements(opened.checkpoints, result.newest, report, until=until)
    async for checkpoint in evidence.checkpoints():
        statements.take(checkpoint)
        if witnesses.checkpoints.get(checkpoint.number, digest(checkpoint.text)) != digest(checkpoint.text):
            says = f"checkpoint {checkpoint.number} is not the one that was signed under this number at the time"
            report(Fault(Broken.CHECKPOINT_CHANGED, says, checkpoint=checkpoint.number))
    _newer_than_newest(witnesses, result)
    result.checkpoints = statements.number
    told = await evidence.chains()
    await _decisions(evidence, told, statements, opened.chains, period, result, progressed)
    await _administrative(evidence, told, statements, opened.chains, result)
    for name, sha256 in witnesses.files.items():
        stated = statements.exports.get(name)
        if stated is None and not is_day_file(name):
            result.unchecked.append(name)
        elif stated != sha256:
            why = "no checkpoint names it" if stated is None else "it is not what was exported under this name"
            report(Fault(Broken.FILE_CHANGED, f"{name}: {why}"))
    return result


def _newer_than_newest(witnesses: Witnesses, result: Verified) -> None:
    """Checkpoints that somebody saw, and that came after all there are. Old ones may be forgotten by now."""
    newest = result.newest.number if result.newest is not None else 0
    for number in sorted(witnesses.checkpoints):
        if number > newest:
            says = f"checkpoint {number} is missing: the newest is {newest}"
            result.faults.add(Fault(Broken.CHECKPOINT_MISSING, says, checkpoint=number))


async def _decisions(
    evidence: Evidence,
    told: Mapping[UUID, ToldChain],
    statements: Statements,
    keys: Mapping[str, bytes],
    period: Period,
    result: Verified,
    progressed: Callable[[int], None],
) -> None:
    chains = Chains(result.faults.add, partial=period.since is not None, heads_told=period.until is None)
    ours = {chain.head.writer: chain for chain in told.values() if chain.head.writer != ADMIN_CHAIN}
    stated = {writer: each for writer, each in statements.chains.items() if writer != ADMIN_CHAIN}
    chains.expect(ours, stated, keys)
    since = period.since - EARLIER if period.since is not None else None
    async for batch in evidence.decisions(since, period.until):
        for record, link in batch:
            chains.take(link, to_bytes(record), record.id)
        progressed(chains.records)
    result.unfinished += chains.end()
    result.decisions, result.chains, result.unproven = chains.records, chains.chains, chains.unproven


async def _administrative(
    evidence: Evidence,
    told: Mapping[UUID, ToldChain],
    statements: Statements,
    keys: Mapping[str, bytes],
    result: Verified,
) -> None:
    """Administrative records: sealed in the order of their revisions, of which each has one."""
    chains = Chains(result.faults.add)
    chain, stated = told.get(ADMIN_CHAIN), statements.chains.get(ADMIN_CHAIN)
    chains.expect(
        {ADMIN_CHAIN: chain} if chain is not None else {},
        {ADMIN_CHAIN: stated} if stated is not None else {},
        keys,
    )
    revision = None
    async for link, record_id, record in evidence.sealed(max(stated.starts, default=0) if stated is not None else 0):
        chains.take(link, administrative_bytes(record) if record is not None else None, record_id)
        if record is not None and record.revision is not None:
            if revision is not None and record.revision != revision + 1:
                says = f"there is no administrative record of revision {revision + 1}: {record.revision} follows {revision}"
                result.faults.add(Fault(Broken.RECORD_MISSING, says, ADMIN_CHAIN, link.sequence, record_id))
            revision = record.revision
    result.unfinished += chains.end()
    result.administrative = chains.records
    if chain is not None:
        # As far as the sealer looks back, counted from the newest seal it made.
        async for record_id, of_revision in evidence.never_sealed(LATEST):
            says = f"administrative record {record_id} (revision {of_revision}) was never sealed: nobody knows who wrote it"
            result.faults.add(Fault(Broken.RECORD_UNSEALED, says, ADMIN_CHAIN, None, record_id))
