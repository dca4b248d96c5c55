"""Days of a record, and what becomes of them."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from issuer.store.partitions import partition_of
from issuer.workers.retention import Retention
from tests.evidence.ledger import Ledger


def retention(ledger: Ledger) -> Retention:
    return ledger.world.issuer.attestation.retention


def exported(folder: Path) -> dict[str, bytes]:
    """What stands in the folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def lines_of(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for content in files.values() for line in content.splitlines()]


async def tables(ledger: Ledger) -> list[str]:
    rows = await ledger.query("SELECT relname FROM pg_class WHERE relname ~ '^decision_records_[0-9]{8}$' ORDER BY 1")
    return [row[0] for row in rows]


async def old_days(ledger: Ledger) -> list[str]:
    """Two days of two chains, one of which goes on, attested; then nine days pass. The names of their tables."""
    clock = ledger.world.clock
    first = clock.now().replace(hour=12)
    one, two = await ledger.writer(), await ledger.writer()
    await one.write(3, first)
    await two.write(2, first, ended=True)
    await one.write(2, first + timedelta(days=1))
    await ledger.attest()
    clock.instant = first + timedelta(days=9)
    await one.write(4, clock.now())
    await ledger.attest()
    return [partition_of((first + timedelta(days=more)).date()) for more in (0, 1)]
