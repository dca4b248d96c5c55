"""Decision records as the command line reads them: page by page, followed look by look, and in one line each."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from issuer.cli.output import CommandError, note
from issuer.cli.session import Session, may_pass

HEADERS = ("WHEN", "OUTCOME", "ACCOUNT", "CREDENTIAL", "SOURCE", "SCOPE", "AUDIENCE", "TTL", "JTI")
_NOTHING = "-"
PAGE = 500
_PAGES = 10
"""What `tail` reads at a time."""
_PAUSE_S = 2.0
_OVERLAP_S = 3.0
"""How long after its id a record may become visible and still be shown by `tail`."""
_BACK_S = 300.0
"""How far `tail` looks back at least, when what it looks for is rare: the clock here may be that wrong."""


@dataclass
class Tail:
    """New records, a look every _PAUSE_S. A look is bounded: _PAGES pages, no further back than there can be anything new."""

    session: Session
    path: str
    asked: Mapping[str, str]
    shown: set[str] = field(default_factory=set)
    newest_s: float = 0.0
    complaint: str = ""

    def batches(self, lines: int) -> Iterator[list[dict[str, Any]]]:
        """Records in the order of their ids; at first the newest `lines`."""
        first = list(read_decisions(self.session, self.path, self.asked, max(lines, 1)))
        self._remember(first)
        # What was there before, and is not among those lines, is not news.
        since = [each for each in self._look() if not first or _id(each) > _id(first[0])]
        yield first[:lines][::-1] + since
        while True:
            time.sleep(_PAUSE_S)
            try:
                records = self._look()
            except CommandError as trouble:
                if not may_pass(trouble):
                    raise
                if trouble.message != self.complaint:
                    self.complaint = trouble.message
                    note(f"{self.complaint}; trying again until it passes")
                continue
            self.complaint = ""
            if records:
                yield records

    def _look(self) -> list[dict[str, Any]]:
        since_s = max(self.newest_s - _OVERLAP_S, time.time() - _BACK_S)
        asked = {**self.asked, "from": rfc3339(since_s)}
        found = list(read_decisions(self.session, self.path, asked, PAGE * _PAGES, pages=_PAGES))
        if len(found) == PAGE * _PAGES:
            note(f"more than {len(found)} records in a moment: some are not shown, narrow them down")
        new = [record for record in reversed(found) if _id(record) not in self.shown]
        self.shown = {each for each in self.shown if _seconds(each) >= since_s}
        self._remember(found)
        return new

    def _remember(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.shown |= {_id(record) for record in records}
        self.newest_s = max([self.newest_s, *(_seconds(_id(record)) for record in records)])


def read_decisions(
    session: Session, path: str, asked: Mapping[str, str], limit: int, *, pages: int | None = None
) -> Iterator[dict[str, Any]]:
    """At most `limit` records, the newest first, from no more than so many pages."""
    left, told = limit, ""
    while left > 0 and (pages is None or pages > 0):
        page = session.call(
            "GET", path, params={**asked, "limit": str(min(left, PAGE)), **({"continue": told} if told else {})}
        )
        items = page["items"][:left]
        yield from items
        left -= len(items)
        pages = pages - 1 if pages is not None else None
        told = (page.get("metadata") or {}).get("continue", "")
        if not told:
            return


def rfc3339(seconds: float) -> str:
    """The instant, as the admin API reads it."""
    return datetime.fromtimestamp(max(0.0, seconds), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _id(record: Mapping[str, Any]) -> str:
    return str(record["metadata"]["name"])


def _seconds(record_id: str) -> float:
    """When a record was made: its id begins with the millisecond (RFC 9562 section 5.7)."""
    return (UUID(record_id).int >> 80) / 1000


def line_of(record: Mapping[str, Any]) -> list[str]:
    """The cells of one record."""
    metadata, asked, got = record["metadata"], record.get("requested") or {}, record.get("granted") or {}
    parts = [
        metadata["creationTimestamp"],
        record["outcome"],
        f"{metadata['namespace']}/{record['account']['name']}",
        record["credential"],
        record["source"],
        got.get("scope") or asked.get("scope"),
        got.get("audience") or asked.get("audience"),
        got.get("accessTokenTTL"),
        got.get("jti"),
    ]
    return [str(part) if part else _NOTHING for part in parts]
