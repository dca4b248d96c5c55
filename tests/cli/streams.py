"""Streams of a WATCH as an issuer sends them, and the ways they end."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


def line(event: str, /, **found: Any) -> bytes:
    """One event."""
    return json.dumps({"type": event, "object": found}, ensure_ascii=False).encode() + b"\n"


def account(name: str, revision: int, *, phase: str = "Active", uid: str = "", **conditions: str) -> dict[str, Any]:
    """An account as LIST and WATCH carry it."""
    listed = [{"type": kind, "status": status, "reason": f"Because{status}"} for kind, status in conditions.items()]
    metadata = {
        "name": name,
        "namespace": "payments-prod",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(revision),
    }
    return {"metadata": metadata, "status": {"phase": phase, "conditions": listed}}


def bookmark(revision: int) -> bytes:
    return line("BOOKMARK", metadata={"resourceVersion": str(revision)})


def expired() -> bytes:
    return line("ERROR", kind="Status", code=410, reason="Expired", message="the revision is too old")


def interrupted(*lines: bytes) -> Iterator[bytes]:
    """The lines, then Ctrl-C."""
    yield from lines
    raise KeyboardInterrupt


def broken(*lines: bytes) -> Iterator[bytes]:
    """The lines, then a connection that breaks in the middle of the next."""
    yield from lines
    yield b'{"type": "MODI'
    raise httpx.RemoteProtocolError("peer closed connection")
