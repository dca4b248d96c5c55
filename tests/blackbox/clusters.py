"""PostgreSQL clusters that come of one another: a base backup becomes a standby, or takes its source's place."""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from issuer.embedded import EmbeddedPostgres
from issuer.embedded.launching import handed_over
from issuer.embedded.ownership import pid_file
from tests.store.rows import query


class Cluster(EmbeddedPostgres):
    """A PostgreSQL of the test's own, which it may end, freeze and copy as it likes."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, durable=False)
        self.url = ""

    def start(self) -> str:
        self.url = super().start()
        return self.url

    def ask(self, statement: str) -> list[Any]:
        """The rows, asked for by its superuser."""
        return asyncio.run(query(self.url, statement))

    def crash(self) -> None:
        """SIGKILL for every process of it, frozen ones included."""
        for pid in self._family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stop()

    close = crash

    def freeze(self) -> None:
        """As if its machine had lost its network: connections stay, new ones are accepted, nobody answers."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        for pid in reversed(self._family()):
            os.kill(pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        if self._child is None or self._child.poll() is not None:
            return []
        postmaster = self._child.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii")
        return [postmaster, *map(int, children.split())]


class BaseBackup(Cluster):
    """A base backup of a running cluster, not yet started."""

    def __init__(self, data_dir: Path, source: Cluster, *, standby: bool = False) -> None:
        """`standby`: follows the source once it is started, until it is promoted."""
        super().__init__(data_dir)
        self._source = source
        self._standby = standby
        data_dir.mkdir(mode=0o700)
        # The roles are the source's, and so is their password.
        (data_dir / "password").write_text(source._password)
        self._create_cluster()

    def start_at(self, replaced: Cluster) -> str:
        """Started on the address of another cluster, which has ended."""
        self._port = replaced._port
        return self.start()

    def _create_cluster(self) -> None:
        fresh = self._data_dir / "cluster.new"
        fresh.mkdir(mode=0o700)
        os.chown(fresh, *self._account)
        options = ["--checkpoint=fast", "--no-sync", *(["--write-recovery-conf"] if self._standby else [])]
        with handed_over(fresh) as (place, fds):
            self._run("pg_basebackup", "-D", place, "-d", self._source.url, *options, fds=fds)
        fresh.rename(self._cluster)

    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        lines = pid_file(self._cluster)
        return len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() in {"ready", "standby"}
