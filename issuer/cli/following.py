"""A collection as it is and every change from then on: LIST, then WATCH from there, through restarts of the issuer."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import typer

from issuer.cli.output import CommandError, note
from issuer.cli.session import RefusedError, Session, may_pass

INTERRUPTED = 130
"""The exit code of a shell's child that Ctrl-C ended: 128 + SIGINT."""
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"

_GONE = 410
_STREAM_S = 300
_PAUSE_S = 1.0

Event = Mapping[str, Any]
Known = dict[tuple[str, str], tuple[str, int]]
"""uid and revision of every object that was told of, by namespace and name."""


def follow(
    session: Session, path: str, selection: Mapping[str, str], *, until_s: float = inf
) -> Iterator[list[dict[str, Any]]]:
    """Batches of events (`type`, `object`): at first what is there, as ADDED, then every change as it comes.

    Ends when the monotonic clock says `until_s`, but not before the first batch. A stream that ends is taken up at the last
    revision seen; when the issuer no longer knows that one, everything is listed again and the differences are told: a
    deletion found that way names the object and no more. Raises CommandError when waiting for better times is in vain.
    """
    return _Following(session, path, selection, until_s).batches()


@dataclass
class _Following:
    session: Session
    path: str
    selection: Mapping[str, str]
    until_s: float
    known: Known = field(default_factory=dict)
    since: str = ""
    begun: bool = False
    complaint: str = ""

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        while True:
            try:
                yield from self._listed_and_watched()
            except CommandError as trouble:
                self._bear(trouble)
            if self._left_s() <= 0:
                return
            time.sleep(min(_PAUSE_S, self._left_s()))

    def _left_s(self) -> float:
        return max(0.0, self.until_s - time.monotonic())

    def _listed_and_watched(self) -> Iterator[list[dict[str, Any]]]:
        if not self.since:
            listing = self.session.listing(self.path, self.selection)
            self.since, self.begun = listing.revision, True
            yield _differences(self.known, listing.items)
        lasts_s = ceil(min(self._left_s(), _STREAM_S))
        if not lasts_s:
            return
        asked = {**self.selection, "resourceVersion": self.since, "allowWatchBookmarks": "true"}
        for event in self.session.watch(self.path, asked, timeout_s=lasts_s):
            self.since, self.complaint = event["object"]["metadata"]["resourceVersion"], ""
            if event["type"] != BOOKMARK and _is_news(self.known, event):
                yield [event]

    def _bear(self, trouble: CommandError) -> None:
        """Nothing, so that it is tried again, or the trouble."""
        if isinstance(trouble, RefusedError) and trouble.code == _GONE:
            self.since = ""
        elif not self.begun or not may_pass(trouble):
            raise trouble
        elif trouble.message != self.complaint:
            self.complaint = trouble.message
            note(f"{self.complaint}; trying again until it passes")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C inside is how the command ends, not trouble."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _is_news(known: Known, event: Event) -> bool:
    """Whether the event says more than was told; `known` then holds it.

    Later pages of a list may be younger than the revision it is watched from, so some changes come twice.
    """
    found = event["object"]
    key, uid, revision = _identity(found)
    before = known.get(key)
    if event["type"] == DELETED:
        if before is None or revision < before[1]:
            return False
        del known[key]
        return True
    if before is not None and revision <= before[1]:
        return False
    known[key] = uid, revision
    return True


def _differences(known: Known, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What happened since `known` to make it `items`, as events; `known` then holds them."""
    now = {key: (uid, revision) for key, uid, revision in map(_identity, items)}
    gone = [key for key, (uid, _) in known.items() if key not in now or now[key][0] != uid]
    events = [{"type": DELETED, "object": _remembered(key, known.pop(key)[0])} for key in gone]
    for item in items:
        key, _, revision = _identity(item)
        if key not in known:
            events.append({"type": "ADDED", "object": item})
        elif known[key][1] != revision:
            events.append({"type": "MODIFIED", "object": item})
    known.update(now)
    return events


def _identity(found: Mapping[str, Any]) -> tuple[tuple[str, str], str, int]:
    metadata = found["metadata"]
    return (metadata.get("namespace", ""), metadata["name"]), metadata.get("uid", ""), int(metadata["resourceVersion"])


def _remembered(key: tuple[str, str], uid: str) -> dict[str, Any]:
    namespace, name = key
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {}), "uid": uid}}
