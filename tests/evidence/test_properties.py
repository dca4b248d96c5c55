"""The pure state machine: any single change of a valid record is noticed, and one that nobody changed never is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from issuer.record.chain import Link, first_link, link_after
from issuer.record.checkpoint import Checkpoint, Head, digest, sign_checkpoint
from issuer.record.faults import Broken, Faults, Unfinished
from issuer.record.statements import Statements, StoredCheckpoint
from issuer.record.verifying import Chains, ToldChain

KEY, OTHER_KEY = b"a key of chains, 32 bytes long..", b"another key, as long as that one"
SIGNING, FORGING = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
START = datetime(2026, 11, 22, tzinfo=UTC)


class Row(NamedTuple):
    """A record in the order of its id."""

    link: Link
    payload: bytes
    id: UUID


@dataclass
class Record:
    """All that verifying reads."""

    rows: list[Row] = field(default_factory=list)
    told: dict[UUID, ToldChain] = field(default_factory=dict)
    checkpoints: list[StoredCheckpoint] = field(default_factory=list)

    def verified(self) -> tuple[Faults, list[Unfinished]]:
        faults = Faults()
        newest = self.checkpoints[-1] if self.checkpoints else None
        statements = Statements({"kid": SIGNING}, newest, faults.add)
        for checkpoint in self.checkpoints:
            statements.take(checkpoint)
        chains = Chains(faults.add)
        chains.expect(self.told, statements.chains, {"key": KEY})
        for link, payload, record_id in self.rows:
            chains.take(link, payload, record_id)
        return faults, list(chains.end())

    def kinds(self) -> set[Broken]:
        return {fault.broken for fault in self.verified()[0].told}


def none_dropped(writer: UUID) -> Link:
    return Link(writer, 0, b"")


def signed(record: Record, *, full: bool, first: int = 1, dropped: dict[UUID, Link] | None = None) -> None:
    """One more checkpoint: over all chains, or over those that have gone on."""
    number = len(record.checkpoints) + 1
    previous = digest(record.checkpoints[-1].text) if record.checkpoints else b""
    heads = tuple(
        Head("key", told.head, (dropped or {}).get(writer, none_dropped(writer)))
        for writer, told in record.told.items()
        if full or told.head.sequence != told.stated
    )
    at = START + timedelta(minutes=number)
    text = sign_checkpoint(Checkpoint(number, at, previous, first, full, heads, ()), "kid", SIGNING)
    record.checkpoints.append(StoredCheckpoint(number, at, full, text))
    record.told = {writer: told._replace(stated=told.head.sequence) for writer, told in record.told.items()}


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Some chains that go on in turns, checkpoints now and then, the last of them over everything."""
    writers = [UUID(int=number + 1) for number in range(draw(st.integers(1, 3)))]
    record = Record(
        told={writer: ToldChain("key", first_link(KEY, writer), ended=False, stated=None) for writer in writers}
    )
    signed(record, full=True)
    steps = draw(st.lists(st.one_of(st.sampled_from(writers), st.booleans()), min_size=3, max_size=20))
    for number, step in enumerate(steps):
        if isinstance(step, bool):
            signed(record, full=step)
            continue
        told = record.told[step]
        payload = b"record %d" % number
        link = link_after(KEY, told.head, payload)
        record.rows.append(Row(link, payload, UUID(int=number)))
        record.told[step] = told._replace(head=link)
    if not record.rows:
        link = link_after(KEY, record.told[writers[0]].head, b"one")
        record.rows.append(Row(link, b"one", UUID(int=99)))
        record.told[writers[0]] = record.told[writers[0]]._replace(head=link)
    signed(record, full=draw(st.booleans()))
    return record


def flipped(data: bytes, bit: int) -> bytes:
    place, within = divmod(bit % (8 * len(data)), 8)
    return bytes(byte ^ (1 << within if index == place else 0) for index, byte in enumerate(data))


def changes_of_rows(draw: st.DrawFn, rows: Sequence[Row]) -> list[Row]:
    """One record changed, removed, doubled, moved, or put into another place."""
    changed, index, bit = list(rows), draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, 10_000))
    row = changed[index]
    same = [other for other, each in enumerate(rows) if each.link.writer == row.link.writer and other != index]
    how = draw(
        st.sampled_from(["payload", "mac", "sequence", "writer", "removed", "doubled", *(["swapped"] if same else [])])
    )
    if how == "payload":
        changed[index] = row._replace(payload=flipped(row.payload, bit))
    elif how == "mac":
        changed[index] = row._replace(link=row.link._replace(mac=flipped(row.link.mac, bit)))
    elif how == "sequence":
        other = draw(st.integers(-3, 40).filter(lambda number: number != row.link.sequence))
        changed[index] = row._replace(link=row.link._replace(sequence=other))
    elif how == "writer":
        stranger = UUID(int=draw(st.integers(1, 5).filter(lambda number: number != row.link.writer.int)))
        changed[index] = row._replace(link=row.link._replace(writer=stranger))
    elif how == "removed":
        del changed[index]
    elif how == "doubled":
        changed.insert(draw(st.integers(0, len(rows))), row)
    else:
        other = draw(st.sampled_from(same))
        changed[index], changed[other] = changed[other], changed[index]
    return changed


@st.composite
def tampered(draw: st.DrawFn) -> Record:
    """A valid record with one change."""
    record = draw(records())
    writer = draw(st.sampled_from(sorted(record.told)))
    told = record.told[writer]
    how = draw(st.sampled_from(["rows", "rows", "rows", "recomputed", "chain", "head", "key", "checkpoint"]))
    if how == "rows":
        return replace(record, rows=changes_of_rows(draw, record.rows))
    if how == "recomputed":
        return recomputed(record, draw(st.integers(0, len(record.rows) - 1)))
    if how == "checkpoint":
        return replace(record, checkpoints=changes_of_checkpoints(draw, record.checkpoints))
    chains = dict(record.told)
    written = told.head.sequence > 0
    if how == "chain" and written:
        del chains[writer]
    elif how == "head" and written:
        chains[writer] = told._replace(
            head=told.head._replace(sequence=told.head.sequence + draw(st.sampled_from([-1, 1])))
        )
    else:
        chains[writer] = told._replace(key_id="another")
    return replace(record, told=chains)


def recomputed(record: Record, index: int) -> Record:
    """A record is changed, and all MACs of its chain after it made anew with another key; its head is told accordingly."""
    rows, writer = list(record.rows), record.rows[index].link.writer
    before = [row.link for row in rows[:index] if row.link.writer == writer]
    head = before[-1] if before else first_link(OTHER_KEY, writer)
    for number in range(index, len(rows)):
        if rows[number].link.writer == writer:
            payload = b"changed " + rows[number].payload
            head = link_after(OTHER_KEY, head, payload)
            rows[number] = rows[number]._replace(link=head, payload=payload)
    return replace(record, rows=rows, told=record.told | {writer: record.told[writer]._replace(head=head)})


def changes_of_checkpoints(draw: st.DrawFn, checkpoints: Sequence[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """One checkpoint edited, forged, removed or exchanged: any but the newest, which the chains may not remember."""
    changed, index = list(checkpoints), draw(st.integers(0, len(checkpoints) - 2))
    row = changed[index]
    how = draw(st.sampled_from(["letter", "forged", "number", "removed", "copied"]))
    if how == "letter":
        place = draw(st.integers(0, len(row.text) - 3))
        letter = "A" if row.text[place] != "A" else "B"
        changed[index] = row._replace(text=row.text[:place] + letter + row.text[place + 1 :])
    elif how == "forged":
        empty = Checkpoint(row.number, row.at, b"", 1, full=row.full, heads=(), exports=())
        changed[index] = row._replace(text=sign_checkpoint(empty, "kid", FORGING))
    elif how == "number":
        changed[index] = row._replace(number=row.number + 1)
    elif how == "removed":
        del changed[index]
    else:
        other = draw(st.sampled_from([each for each in range(len(checkpoints)) if each != index]))
        changed[index] = row._replace(text=checkpoints[other].text)
    return changed


@given(records())
def test_what_nobody_changed_is_never_broken(record: Record) -> None:
    faults, unfinished = record.verified()
    assert (faults.told, unfinished) == ([], [])


@given(tampered())
def test_any_single_change_is_noticed(record: Record) -> None:
    assert record.verified()[0].number > 0


@given(records(), st.data())
def test_a_tail_no_checkpoint_speaks_of_is_unfinished_and_not_broken(record: Record, data: st.DataObject) -> None:
    """A writer that lives, or one that ended in a crash: its rows are there, and what it told may lag behind."""
    writer = data.draw(st.sampled_from(sorted(record.told)))
    head = record.told[writer].head
    count = data.draw(st.integers(1, 5))
    for number in range(count):
        head = link_after(KEY, head, b"tail")
        record.rows.append(Row(head, b"tail", UUID(int=1000 + number)))
    faults, unfinished = record.verified()
    assert faults.told == []
    assert unfinished == [Unfinished(writer, count, ended=False)]


@given(records(), st.data())
def test_days_may_be_dropped_from_the_beginning_once_a_checkpoint_says_so(record: Record, data: st.DataObject) -> None:
    """Before the rows are gone, and after; and a first row that is missing beyond that is noticed."""
    gone = data.draw(st.integers(1, len(record.rows)))
    dropped = {row.link.writer: row.link for row in record.rows[:gone]}
    signed(record, full=True, dropped=dropped)
    assert record.kinds() == set()
    rest = record.rows[gone:]
    assert replace(record, rows=rest).kinds() == set()
    if rest:
        assert replace(record, rows=rest[1:]).kinds() != set()


def test_checkpoints_before_the_first_that_must_be_there_are_leftovers() -> None:
    record = Record(told={UUID(int=1): ToldChain("key", first_link(KEY, UUID(int=1)), ended=False, stated=None)})
    for full in (True, False, True, False):
        signed(record, full=full)
    signed(record, full=True, first=3)
    for left in (record.checkpoints, record.checkpoints[1:], record.checkpoints[2:]):
        assert replace(record, checkpoints=list(left)).kinds() == set()
    assert replace(record, checkpoints=record.checkpoints[3:]).kinds() == {Broken.CHECKPOINT_MISSING}


def test_memory_is_for_chains_and_not_for_records() -> None:
    """What is kept while records pass is a bounded number of values for each chain."""
    writer = UUID(int=1)
    head = first_link(KEY, writer)
    chains = Chains(Faults().add)
    chains.expect({writer: ToldChain("key", head, ended=False, stated=None)}, {}, {"key": KEY})

    def kept(value: Any) -> Iterator[Any]:
        for name in value.__slots__ if hasattr(value, "__slots__") else ():
            yield from sized(getattr(value, name))

    def sized(value: Any) -> Iterator[Any]:
        yield value
        if isinstance(value, dict):
            for each in value.values():
                yield from sized(each)
        elif isinstance(value, list | tuple):
            for each in value:
                yield from sized(each)
        else:
            yield from kept(value)

    sizes = set()
    for number in range(300):
        head = link_after(KEY, head, b"record")
        chains.take(head, b"record", UUID(int=number))
        sizes.add(len(list(sized(chains))))
    assert len(sizes) <= 2
