"""What `issuer audit verify` and `issuer audit export` do, once their command lines are understood."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import typer

from issuer.administration.auditkeys import AuditKeys
from issuer.administration.verification import Period, Verified, Witnesses
from issuer.administration.verification import verify as verify_evidence
from issuer.cli.output import FAILED, CommandError, Format, UsageError, note, print_document, printable
from issuer.cli.starting import start_trouble_reported, with_database
from issuer.durable import whole_file
from issuer.model.times import format_time, parse_time
from issuer.observe.log import log_events
from issuer.record.lines import to_line
from issuer.settings import Settings, load_settings
from issuer.store.database import Database
from issuer.store.evidence import Evidence
from issuer.store.schema import require_schema
from issuer.wiring import database_url, lay_foundation

_STATEMENT_TIMEOUT_S = 600
"""Nobody waits for an answer here."""
_LINE_EVERY_S = 5.0
_SHA256_BYTES = 32


def verify(
    config: Path | None,
    times: tuple[str | None, str | None],
    kept: tuple[list[Path], list[str]],
    style: Format,
) -> None:
    """Prints what came of it. Ends with 1 when something is broken, or could not be checked.

    `kept`: files, and what the log told of checkpoints.
    """
    with start_trouble_reported():
        files, told = kept
        period = _period(times)
        witnesses = Witnesses({path.name: _sha256(path) for path in files}, dict(map(_checkpoint, told)))
        settings = _patient(load_settings(config))
        foundation = lay_foundation(settings, log_events(settings.log))

        async def run(database: Database) -> Verified:
            await _require_schema(database)
            keys = AuditKeys(database, foundation.master_key)
            async with Evidence.at_one_instant(foundation.database_url, settings.database) as evidence:
                return await verify_evidence(evidence, keys, period, witnesses, _told(foundation.sources.elapsed_s))

        result = asyncio.run(with_database(foundation.database_url, settings, run))
        if style is Format.TABLE:
            print("\n".join(printable(line) for line in _lines(result)))
        else:
            print_document(_document(result), style)
        if result.faults.number or result.unchecked:
            raise typer.Exit(FAILED)


def export(config: Path | None, times: tuple[str | None, str | None], out: Path | None) -> None:
    """Writes decisions to the file, or to standard output."""
    with start_trouble_reported():
        period = _period(times)
        settings = _patient(load_settings(config))
        url = database_url(settings)

        async def run(database: Database) -> int:
            await _require_schema(database)
            written = 0
            async with Evidence.at_one_instant(url, settings.database) as evidence:
                with _destination(out) as write:
                    async for batch in evidence.decisions(period.since, period.until):
                        write(b"".join(map(to_line, batch)))
                        written += len(batch)
            return written

        try:
            written = asyncio.run(with_database(url, settings, run))
        except _NotWritten as error:
            if isinstance(error.__cause__, OSError) and out is not None:
                raise CommandError(f"{out} cannot be written: {error.__cause__.strerror}") from None
            raise error.__cause__ or error from None
        note(f"{written:,} decisions written.")


class _NotWritten(Exception):
    """Carries an OSError past those who would take it for one of the database."""


@contextmanager
def _destination(out: Path | None) -> Iterator[Callable[[bytes], Any]]:
    try:
        if out is None:
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        else:
            with whole_file(out) as file:
                yield file.write
    except OSError as error:
        raise _NotWritten from error


def _patient(settings: Settings) -> Settings:
    patient = settings.database.model_copy(update={"statement_timeout_s": _STATEMENT_TIMEOUT_S})
    return settings.model_copy(update={"database": patient})


async def _require_schema(database: Database) -> None:
    async with database.transaction() as connection:
        await require_schema(connection)


def _period(times: tuple[str | None, str | None]) -> Period:
    since, until = (_instant(text) for text in times)
    if since is not None and until is not None and since >= until:
        raise UsageError("--until must be later than --from")
    return Period(since, until)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text if "T" in text.upper() else f"{text}T00:00:00Z").astimezone(UTC)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a day such as 2026-11-01 nor a time such as 2026-11-01T12:00:00Z"
        ) from None


def _checkpoint(text: str) -> tuple[int, bytes]:
    number, _, hexed = text.partition(":")
    try:
        sha256 = bytes.fromhex(hexed)
    except ValueError:
        sha256 = b""
    if not number.isdecimal() or len(sha256) != _SHA256_BYTES:
        raise UsageError(f"{text!r} is no checkpoint: its number, a colon, and its digest as the log has it")
    return int(number), sha256


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").digest()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


def _told(elapsed_s: Callable[[], float]) -> Callable[[int], None]:
    """Says every few seconds how far it is."""
    said_at = elapsed_s()

    def line(done: int) -> None:
        nonlocal said_at
        if elapsed_s() - said_at >= _LINE_EVERY_S:
            said_at = elapsed_s()
            note(f"{done:,} decisions verified")

    return line


def _lines(result: Verified) -> Iterator[str]:
    newest = result.newest
    if newest is None:
        yield "No checkpoint: that nothing was removed cannot be shown yet."
    else:
        checkpoints = f"{result.checkpoints:,} checkpoint{'s' * (result.checkpoints != 1)}"
        yield f"{checkpoints}, the newest {newest.number} of {format_time(newest.at)}, SHA-256 {result.newest_digest}"
    yield f"{result.decisions:,} decisions in {result.chains:,} chains, {result.administrative:,} administrative records"
    if result.unproven:
        yield f"unproven: the first record in view of {result.unproven:,} chains; begin earlier to hold it against another"
    for each in result.unfinished:
        end = "ended in order" if each.ended else "is being written, or ended in a crash"
        yield f"unfinished: no checkpoint speaks yet of the last {each.records:,} of chain {each.chain}, which {end}"
    for name in result.unchecked:
        yield f"not checked: {name}: no checkpoint names it, as it does days under the name they got in audit.export_dir"
    for fault in result.faults.told:
        yield f"{fault.broken}: {fault.says}"
    if result.faults.number > len(result.faults.told):
        yield f"… and {result.faults.number - len(result.faults.told):,} more"
    if result.faults.number:
        yield "BROKEN: the record is not what was recorded."
    elif result.unchecked:
        yield "NOT CHECKED: nothing was found broken, but of such a file nobody can tell."
    else:
        yield "Nothing is broken."


def _document(result: Verified) -> dict[str, Any]:
    newest = result.newest
    return {
        "broken": result.faults.number,
        "faults": [
            {
                "fault": fault.broken.value,
                "message": fault.says,
                "chain": str(fault.chain) if fault.chain else None,
                "sequence": fault.sequence,
                "record": str(fault.record) if fault.record else None,
                "checkpoint": fault.checkpoint,
            }
            for fault in result.faults.told
        ],
        "unfinished": [
            {"chain": str(each.chain), "records": each.records, "ended": each.ended} for each in result.unfinished
        ],
        "unchecked": result.unchecked,
        "unproven": result.unproven,
        "decisions": result.decisions,
        "chains": result.chains,
        "administrativeRecords": result.administrative,
        "checkpoints": result.checkpoints,
        "newestCheckpoint": None
        if newest is None
        else {"number": newest.number, "at": format_time(newest.at), "sha256": result.newest_digest},
    }
