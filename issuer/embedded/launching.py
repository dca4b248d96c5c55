"""A child that never outlives us, under an account that is never root, on a directory whose parents may be closed."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from issuer.embedded.failure import EmbeddedPostgresError

OPEN_FILES = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"

_SYSTEM_USERS = ("postgres", "nobody")

# A program instead of `preexec_fn`, which may deadlock in a process with threads. Imports come first (the interpreter
# may lie under a closed parent), then the user, then the death signal (changing the user clears it), then the question
# whether the parent died before the kernel was told to watch it.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.umask(0o077)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0) != 0 or os.getppid() != parent:
        sys.exit("the parent ended")
os.execv(sys.argv[4], sys.argv[4:])
"""


class Account(NamedTuple):
    """Whom PostgreSQL runs as and who owns the cluster; never root."""

    uid: int
    gid: int


def account_for(cluster: Path) -> Account:
    """Ourselves, or for root: whoever owns the cluster, else the first unprivileged system user there is."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid == 0:
            raise EmbeddedPostgresError(f"{cluster} belongs to root, whom PostgreSQL refuses; chown it")
        return Account(owner.st_uid, owner.st_gid)
    for name in _SYSTEM_USERS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(f"PostgreSQL refuses to run as root, and none of {_SYSTEM_USERS} exists")


class Launcher:
    """Spawns every child from one thread, which lives as long as this object: the kernel ends the children with it."""

    def __init__(self) -> None:
        self._spawner = ThreadPoolExecutor(1, "embedded-postgres")

    def launch(
        self,
        command: Sequence[str],
        account: Account,
        log: IO[bytes],
        *,
        fds: Sequence[int],
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """A child in its own session, under `account`, with nothing of our environment."""
        ids = (os.getpid(), *account)
        launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, ids))

        def spawn() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603 - our own words, no shell
                (*launcher, *command),
                stdin=stdin,
                stdout=log,
                stderr=log,
                env={"LC_ALL": "C", "PATH": os.defpath},
                cwd="/",
                pass_fds=fds,
                start_new_session=True,
            )

        return self._spawner.submit(spawn).result()


@contextmanager
def handed_over(directory: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name for `directory` that a child of root under another user can use, and the descriptors it must inherit."""
    if sys.platform == "linux" and os.geteuid() == 0:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"{OPEN_FILES}/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)
    else:
        yield str(directory), ()
