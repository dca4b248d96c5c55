"""Decisions and chains for tests of the record."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import strategies as st

from issuer.record.chain import ChainedRecord, first_link, next_link
from issuer.record.decision import DecisionRecord

KEY = bytes(range(32))
WRITER = UUID(int=7)
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_maybe = st.none() | _texts
decisions = st.builds(
    DecisionRecord,
    id=st.uuids(),
    at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    outcome=_texts,
    cause=_texts,
    account_uid=st.uuids(),
    namespace=_texts,
    name=_texts,
    account_revision=st.integers(0, 2**63 - 1),
    method=_texts,
    credential=_texts,
    source=_texts,
    requested_scope=_maybe,
    requested_audience=_maybe,
    scope=_maybe,
    audience=_maybe,
    ttl_s=st.none() | st.integers(0, 2**31 - 1),
    jti=_maybe,
    kid=_maybe,
    policies=st.just("[]"),
    trace_id=_maybe,
)


def chained(records: Iterable[DecisionRecord], *, key: bytes = KEY, writer: UUID = WRITER) -> list[ChainedRecord]:
    """The records as one writer's chain."""
    link, found = first_link(key, writer), []
    for record in records:
        link = next_link(key, link, record)
        found.append(ChainedRecord(record, link))
    return found
