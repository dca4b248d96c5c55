"""What is recorded, as bytes: nothing is lost in them, and no two decisions share them."""

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.events import TokenIssued, TokenRefused
from issuer.record.chain import first_link, next_link
from issuer.record.decision import DecisionRecord, from_bytes, record_of, to_bytes
from issuer.record.ids import RecordIds
from issuer.store.tables import decision_records
from tests.record.builders import KEY, NOW, WRITER, chained, decisions


@given(decisions)
def test_the_bytes_of_a_decision_are_the_decision(record: DecisionRecord) -> None:
    assert from_bytes(to_bytes(record)) == record


@given(decisions, decisions)
def test_no_two_decisions_have_the_same_bytes(one: DecisionRecord, other: DecisionRecord) -> None:
    assert (to_bytes(one) == to_bytes(other)) == (one == other)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"[1,2]", b"\xff", b"[" + b"1," * 19 + b"1]"])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_bytes(line)


def test_the_columns_of_the_table_are_the_fields_and_then_the_place_in_the_chain() -> None:
    columns = [column.name for column in decision_records.columns]
    assert columns == [*DecisionRecord._fields, "writer", "sequence", "mac"]


def test_a_stranger_is_no_decision_about_an_account() -> None:
    with pytest.raises(ValueError, match="nobody was authenticated"):
        record_of(TokenRefused("client_unknown", "", None, "192.0.2.1"), UUID(int=1), NOW)


def test_both_events_fit_into_one_record() -> None:
    """Every field of the events of which records are made is in the record, or says nothing of the decision."""
    fields = {*DecisionRecord._fields, "caller", "failure", "client_id"}
    assert {*TokenIssued.__dataclass_fields__, *TokenRefused.__dataclass_fields__} <= fields


@given(st.lists(decisions, min_size=1, max_size=4), st.data())
def test_every_link_depends_on_everything_before_it_and_on_the_key(
    records: list[DecisionRecord], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(records) - 1))
    other = data.draw(decisions.filter(lambda each: each != records[place]))
    whole = chained(records)
    changed = chained([*records[:place], other, *records[place + 1 :]])
    assert whole[-1].link.mac != changed[-1].link.mac
    assert whole[-1].link.mac != chained(records, key=bytes(32))[-1].link.mac
    assert whole[-1].link.mac != chained(records, writer=UUID(int=8))[-1].link.mac
    assert [each.link.sequence for each in whole] == list(range(1, len(records) + 1))


@given(decisions)
def test_the_same_decision_twice_has_two_links(record: DecisionRecord) -> None:
    once = next_link(KEY, first_link(KEY, WRITER), record)
    assert next_link(KEY, once, record).mac != once.mac


@given(st.lists(st.integers(-10_000, 10_000), min_size=2, max_size=50))
def test_ids_grow_whatever_the_clock_does(milliseconds: list[int]) -> None:
    ids = RecordIds(lambda count: b"\xff" * count)
    made = [ids.next(NOW + timedelta(milliseconds=each)) for each in milliseconds]
    assert all(one.int < other.int for one, other in pairwise(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


def test_more_ids_than_a_millisecond_holds_take_the_next_one() -> None:
    ids = RecordIds(bytes)
    made = [ids.next(NOW) for _ in range(5_000)]
    assert all(one.int < other.int for one, other in pairwise(made))
    assert made[-1].int >> 80 == (made[0].int >> 80) + 1


def test_an_id_begins_with_its_millisecond() -> None:
    assert RecordIds(bytes).next(NOW).int >> 80 == int(NOW.timestamp() * 1000)
