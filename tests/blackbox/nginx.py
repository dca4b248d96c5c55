"""The proxy of `config/proxy` in front of replicas of a test: the shipped files, with other addresses and another folder."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.blackbox.processes import PATIENCE_S, ROOT, eventually

SHIPPED = ROOT / "config" / "proxy"
NGINX = shutil.which(
    "nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
)

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx")


@dataclass(frozen=True)
class Nginx:
    """A running nginx. Its access log is what it writes to standard output."""

    url: str
    out: Path
    err: Path

    def upstreams(self) -> list[tuple[str, str]]:
        """For each request, whom it was sent to and with what status; several of each, with commas, when it was sent again."""
        lines = self.out.read_text().splitlines()
        return [
            (each[1], each[2]) for each in map(re.compile(r"upstream=(.*) upstream_status=(.*)$").search, lines) if each
        ]


def render(folder: Path, port: int, replicas: Sequence[str], *, tls: bool = False) -> Path:
    """The shipped configuration in `folder`: what is replaced is the folder it writes to, the port, and the addresses.

    `tls`: as its comment says, with the certificate in `folder`.
    """
    text = (SHIPPED / "nginx.conf").read_text("utf-8").replace("/tmp/", f"{folder}/")  # noqa: S108
    if tls:
        text = re.sub(r"^( *)#(listen .*|ssl_.*)$", r"\1\2", text, flags=re.MULTILINE).replace(
            "        listen 8080;\n", ""
        )
        text = text.replace("/etc/nginx/tls/", f"{folder}/").replace("listen 8443 ", f"listen 127.0.0.1:{port} ")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    shipped = (SHIPPED / "replicas.conf").read_text("utf-8")
    # `resolve` is newer than the nginx of many a distribution; here addresses stay.
    servers = re.findall(r"^server \S+( .*) resolve;$", shipped, re.MULTILINE)
    assert len(servers) == len(replicas) == 2
    lines = [f"server {address}{options};\n" for address, options in zip(replicas, servers, strict=True)]
    (folder / "replicas.conf").write_text("".join(lines), "utf-8")
    (folder / "nginx.conf").write_text(text, "utf-8")
    return folder / "nginx.conf"


@contextmanager
def proxying(folder: Path, replicas: Sequence[str], *, tls: bool = False) -> Iterator[Nginx]:
    """A running proxy in front of the replicas, each `host:port`; it is gone afterwards."""
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = render(folder, port, replicas, tls=tls)
    # Root's workers become another user, who cannot enter a test's folder.
    as_user = "user root; " if os.geteuid() == 0 else ""
    command = (NGINX, "-c", configuration, "-g", f"{as_user}daemon off;")
    out, err = folder / "nginx.out", folder / "nginx.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    proxy = Nginx(f"{'https' if tls else 'http'}://127.0.0.1:{port}", out, err)
    try:
        eventually(lambda: _listens(port), lambda: process.poll() is None, err.read_text)
        yield proxy
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
