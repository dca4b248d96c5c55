"""Decisions as JSON Lines, for files: named fields, and the place in its chain."""

import json
from typing import Any

from issuer.record.chain import ChainedRecord


def to_line(chained: ChainedRecord) -> bytes:
    """One line, with its end."""
    fields: dict[str, Any] = chained.record._asdict()
    fields["id"], fields["account_uid"] = str(fields["id"]), str(fields["account_uid"])
    fields["at"] = chained.record.at.isoformat()
    fields["policies"] = json.loads(chained.record.policies)
    link = chained.link
    fields |= {"writer": str(link.writer), "sequence": link.sequence, "mac": link.mac.hex()}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
