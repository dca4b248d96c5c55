"""Files that hold secrets: mode 0600, whole or not at all, durable before anybody is told that they exist."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from issuer.cli.output import CommandError


@contextmanager
def private_file(target: Path) -> Iterator[Callable[[str], None]]:
    """A function that returns once `target` durably holds the text.

    Opened first: a place that cannot be written is noticed before there is a secret to lose. Raises CommandError.
    """
    target = target.resolve()
    try:
        handle, fresh = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}; no secret was made") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:

            def write(text: str) -> None:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(fresh).replace(target)
                _fsync_folder(target.parent)

            yield write
    finally:
        Path(fresh).unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
