"""Files that are whole or not there, and on disk before anybody is told of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO


def fsync_folder(folder: Path) -> None:
    """What was made or renamed in it is on disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class WholeFile:
    """A file being written, under another name until it is whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256()

    def write(self, data: bytes) -> None:
        """Appends. Raises OSError."""
        self._file.write(data)
        self._hash.update(data)

    @property
    def sha256(self) -> bytes:
        """Of everything that was written."""
        return self._hash.digest()


@contextmanager
def whole_file(path: Path) -> Iterator[WholeFile]:
    """Writes a file that has its name once the block is done, in place of one that had it before. Raises OSError."""
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield WholeFile(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    fsync_folder(path.parent)
