"""The spool on a real disk: nothing that was promised is lost, nothing that was not is read."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.record.chain import ChainedRecord
from issuer.record.decision import DecisionRecord
from issuer.workers.spool import Spool, orphans
from tests.record.builders import NOW, WRITER, chained


def some(count: int) -> list[ChainedRecord]:
    """So many different records."""
    return chained([_record(number) for number in range(count)])


def _record(number: int) -> DecisionRecord:
    return DecisionRecord(
        UUID(int=number),
        NOW,
        "issued",
        "",
        UUID(int=1),
        "payments",
        "api",
        1,
        "client_secret_basic",
        "secret/1",
        "192.0.2.1",
        None,
        None,
        "api:read",
        "https://api.example",
        600,
        f"jti-{number}",
        "kid",
        "[]",
        None,
    )


def all_of(spool: Spool) -> list[ChainedRecord]:
    return spool.read(spool.start, 10_000)[0]


@contextmanager
def left_behind(folder: Path, count: int) -> Iterator[Path]:
    """The file of a process that was killed after so many records."""
    spool = Spool.create(folder, WRITER)
    for each in some(count):
        spool.append([each])
    spool.close()
    yield folder / f"{WRITER}.spool"


def test_what_was_appended_is_read_in_order_in_bounded_pieces(tmp_path: Path) -> None:
    spool, records = Spool.create(tmp_path, WRITER), some(25)
    spool.append(records[:10])
    spool.append(records[10:])
    offset, found = spool.start, []
    while True:
        piece, offset = spool.read(offset, 7)
        if not piece:
            break
        assert len(piece) <= 7
        found += piece
    assert found == records
    assert offset == spool.end
    spool.empty()
    assert all_of(spool) == []
    spool.append(records[:1])
    assert all_of(spool) == records[:1]
    spool.close()


def test_it_belongs_to_one_process_until_that_is_gone(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, WRITER)
    spool.append(some(3))
    assert list(orphans(tmp_path)) == []
    spool.close()
    (found,) = orphans(tmp_path)
    assert (found.writer, all_of(found)) == (WRITER, some(3))
    assert list(orphans(tmp_path)) == [], "one adopts it"
    found.close(remove=True)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60)
@given(cut=st.integers(1, 400))
def test_a_torn_tail_ends_it_and_what_came_before_is_whole(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    with left_behind(tmp_path_factory.mktemp("spool"), 5) as path:
        size = path.stat().st_size
        os.truncate(path, max(size - cut, 31))
        (found,) = orphans(path.parent)
        whole = all_of(found)
        assert whole == some(5)[: len(whole)]
        assert len(whole) < 5
        found.close()


@settings(max_examples=60)
@given(place=st.integers(0, 2_000), bit=st.integers(0, 7))
def test_one_flipped_bit_ends_it_where_it_is(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    with left_behind(tmp_path_factory.mktemp("spool"), 5) as path:
        data = bytearray(path.read_bytes())
        place = 31 + place % (len(data) - 31)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        (found,) = orphans(path.parent)
        whole = all_of(found)
        assert whole == some(5)[: len(whole)]
        found.close()


@pytest.mark.parametrize("content", [b"", b"issuer spool 1\n", b"something else entirely, of somebody else's"])
def test_what_is_none_of_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    stranger = tmp_path / "x.spool"
    stranger.write_bytes(content)
    assert list(orphans(tmp_path)) == []
    assert stranger.read_bytes() == content


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """As a full disk: writes beyond it fail, in the middle of a frame."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_takes_nothing_of_a_batch_and_everything_again_when_there_is_room(tmp_path: Path) -> None:
    spool, records = Spool.create(tmp_path, WRITER), some(50)
    spool.append(records[:10])
    with file_size_limit(spool.end + 100):
        with pytest.raises(OSError, match="File too large"):
            spool.append(records[10:])
        with pytest.raises(OSError, match="File too large"):
            spool.try_room()
    assert all_of(spool) == records[:10]
    spool.try_room()
    spool.append(records[10:])
    assert all_of(spool) == records
    assert spool.path.stat().st_size == spool.end
    spool.close()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path / "made", WRITER)
    assert spool.path.stat().st_mode & 0o777 == 0o600
    assert spool.path.parent.stat().st_mode & 0o777 == 0o700
    spool.close()
