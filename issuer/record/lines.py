"""Decisions as JSON Lines, for files: named fields, and the place in its chain. The names of days that left the database."""

import json
import re
from datetime import date
from typing import Any

from issuer.record.chain import ChainedRecord

_DAY_FILE = re.compile(r"decisions-\d{8}(?:-\d+)?\.jsonl", re.ASCII)


def day_file(day: date, number: int) -> str:
    """The name of the file of a day; of its second one and so on, where late records came."""
    return f"decisions-{day:%Y%m%d}{f'-{number}' if number > 1 else ''}.jsonl"


def is_day_file(name: str) -> bool:
    """Whether a file of this name is a day that left the database, so that a checkpoint must name it."""
    return _DAY_FILE.fullmatch(name) is not None


def to_line(chained: ChainedRecord) -> bytes:
    """One line, with its end."""
    fields: dict[str, Any] = chained.record._asdict()
    fields["id"], fields["account_uid"] = str(fields["id"]), str(fields["account_uid"])
    fields["at"] = chained.record.at.isoformat()
    fields["policies"] = json.loads(chained.record.policies)
    link = chained.link
    fields |= {"writer": str(link.writer), "sequence": link.sequence, "mac": link.mac.hex()}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
