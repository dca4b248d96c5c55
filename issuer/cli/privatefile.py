"""Files that hold secrets: mode 0600, whole or not at all, durable before anybody is told that they exist."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from issuer.cli.output import CommandError
from issuer.durable import fsync_folder


@contextmanager
def private_file(target: Path) -> Iterator[Callable[[str], None]]:
    """A function that returns once `target` durably holds the text.

    Opened first: a place that cannot be written is noticed before there is a secret to lose. Raises CommandError.
    """
    target = target.resolve()
    prefix = f".{target.name}.issuer-"
    try:
        _remove_leftovers(target.parent, prefix)
        handle, fresh = tempfile.mkstemp(dir=target.parent, prefix=prefix)  # mode 0600
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}; no secret was made") from None

    def write(text: str) -> None:
        with Path(fresh).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(target)
        fsync_folder(target.parent)

    try:
        yield write
    finally:
        os.close(handle)
        Path(fresh).unlink(missing_ok=True)


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Takes away what killed writers of the same target left, secrets perhaps; a living one holds its file's lock."""
    for left in folder.glob(f"{escape(prefix)}*"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
