r"""The spool: decisions on this machine's disk while the database is away, each fsynced before its token leaves.

    <folder>/<writer>.spool    "issuer spool 1\n" | writer 16 | frames
    frame                      length 4 | CRC-32 4 | sequence 8 | mac 32 | the decision's bytes

One file belongs to one process, which holds a lock on it for as long as it lives; whoever gets the lock may adopt the file.
Nothing is ever changed in it: frames are appended, and when all of them are in the database it is emptied. A frame that is
torn by a crash never let a token leave: it ends the file.
"""

import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import UUID

from issuer.durable import fsync_folder
from issuer.record.chain import ChainedRecord, Link
from issuer.record.decision import from_bytes, to_bytes

_MAGIC = b"issuer spool 1\n"
_HEADER_BYTES = len(_MAGIC) + 16
_FRAME_HEAD_BYTES = 8
_PLACE_BYTES = 40
_MAX_FRAME_BYTES = 1 << 20
_ROOM_BYTES = 1 << 16
_SUFFIX = ".spool"


class Spool:
    """One open spool, locked. `end`: how long it is. Every OSError leaves it as it was before."""

    def __init__(self, path: Path, descriptor: int, writer: UUID) -> None:
        self.path = path
        self.writer = writer
        self._descriptor = descriptor
        self.end = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, folder: Path, writer: UUID) -> Self:
        """A new, empty spool of this process. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path, unfinished = folder / f"{writer}{_SUFFIX}", folder / f"{writer}.new"
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Locked before it has the name by which others find it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, _MAGIC + writer.bytes)
            os.fsync(descriptor)
            unfinished.rename(path)
            fsync_folder(folder)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                unfinished.unlink()
            raise
        return cls(path, descriptor, writer)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """The spool another process left behind; None while that lives, and of what is none of ours. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = os.pread(descriptor, _HEADER_BYTES, 0)
        except BlockingIOError:
            header = b""
        except OSError:
            os.close(descriptor)
            raise
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            os.close(descriptor)
            return None
        return cls(path, descriptor, UUID(bytes=header[len(_MAGIC) :]))

    @property
    def start(self) -> int:
        """Where its first frame begins."""
        return _HEADER_BYTES

    def append(self, batch: Sequence[ChainedRecord]) -> None:
        """The batch is on disk. Raises OSError: then nothing of it is."""
        self._write(b"".join(map(_frame, batch)))

    def try_room(self) -> None:
        """Raises OSError while there is no room for a batch."""
        end = self.end
        self._write(bytes(_ROOM_BYTES))
        os.ftruncate(self._descriptor, end)
        self.end = end

    def read(self, offset: int, most: int) -> tuple[list[ChainedRecord], int]:
        """At most so many records from there on, and where the next one begins; none at the end, or before a torn frame."""
        found: list[ChainedRecord] = []
        for chained, after in self._frames(offset):
            found.append(chained)
            offset = after
            if len(found) == most:
                break
        return found, offset

    def empty(self) -> None:
        """Forgets every frame: they are in the database."""
        os.ftruncate(self._descriptor, _HEADER_BYTES)
        os.fsync(self._descriptor)
        self.end = _HEADER_BYTES

    def close(self, *, remove: bool = False) -> None:
        """Gives it up. `remove`: for good; nothing may be in it."""
        if remove:
            with suppress(FileNotFoundError):
                self.path.unlink()
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self.end + written)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.end)
            raise
        self.end += len(data)

    def _frames(self, offset: int) -> Iterator[tuple[ChainedRecord, int]]:
        while offset + _FRAME_HEAD_BYTES <= self.end:
            head = os.pread(self._descriptor, _FRAME_HEAD_BYTES, offset)
            length, checksum = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            offset += _FRAME_HEAD_BYTES
            if not _PLACE_BYTES < length <= min(_MAX_FRAME_BYTES, self.end - offset):
                return
            payload = os.pread(self._descriptor, length, offset)
            if zlib.crc32(payload) != checksum:
                return
            link = Link(self.writer, int.from_bytes(payload[:8], "big"), payload[8:_PLACE_BYTES])
            offset += length
            yield ChainedRecord(from_bytes(payload[_PLACE_BYTES:]), link), offset


def orphans(folder: Path) -> Iterator[Spool]:
    """The spools in a folder whose processes are gone, each locked for the caller. Raises OSError."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(FileNotFoundError):
            found = Spool.adopt(path)
            if found is not None:
                yield found


def _frame(chained: ChainedRecord) -> bytes:
    link = chained.link
    payload = link.sequence.to_bytes(8, "big") + link.mac + to_bytes(chained.record)
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload
