"""Whatever several writers do and however often watchers break off: what a watcher believes is what LIST says at its revision.

Each example has a namespace of its own on one database with two replicas. Writers run in interleaved steps and at once;
watchers follow everything, a selector, a name, on either replica, break off and come back where they were, or list again
when they are told that their revision is gone.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from issuer.store.changelog import trim_log
from issuer.web import lists
from tests.administration.paths import MERGE, account
from tests.administration.watching import Watching, running_feed, watching
from tests.databases import Databases
from tests.world import ACCOUNTS, NAMESPACES, World, started_world

NAMES = ("a", "b", "c")
TIERS = ("x", "y")
SELECTIONS: tuple[dict[str, str], ...] = (
    {},
    {"labelSelector": "tier=x"},
    {"labelSelector": "tier!=x,tier"},
    {"fieldSelector": "metadata.name=a"},
)

names, tiers, replicas = st.sampled_from(NAMES), st.sampled_from((*TIERS, None)), st.integers(0, 1)
# Creations and deletions often, so that objects come and go under all the others.
verbs = st.sampled_from(
    ("create", "create", "create", "label", "label", "describe", "delete", "delete", "finalize", "release")
)
writes = st.tuples(
    st.just("write"), st.lists(st.tuples(replicas, st.tuples(verbs, names, tiers)), min_size=1, max_size=5)
)
steps = st.one_of(
    writes,
    writes,
    writes,
    st.tuples(st.just("break off"), st.integers(0, len(SELECTIONS) * 2 - 1)),
    st.tuples(st.just("trim"), st.none()),
    st.tuples(st.just("compare"), st.none()),
)
# Everything a watcher can be told, however the others turn out.
A_WHOLE_LIFE: list[tuple[str, Any]] = [
    ("write", [(0, ("create", "a", "x")), (1, ("create", "b", "y"))]),
    ("compare", None),
    ("write", [(1, ("label", "a", "y")), (0, ("describe", "b", None))]),
    ("compare", None),
    ("break off", 0),
    ("write", [(0, ("delete", "a", None))]),
    ("trim", None),
    ("compare", None),
    ("write", [(1, ("delete", "b", None))]),
]


class Follower:
    """A client as client-go is one: list, watch from there, again from the last revision seen; list again after 410."""

    def __init__(self, world: World, path: str, selection: dict[str, str]) -> None:
        self.world = world
        self.path = path
        self.selection = selection
        self.known: Watching | None = None
        self.relisted = 0
        self.heard: list[dict[str, Any]] = []
        self._stack = AsyncExitStack()

    async def follow(self) -> Watching:
        """An open watch, begun where the last one ended."""
        while self.known is None or self.known.over:
            known = self.known
            if known is None or any(event["type"] == "ERROR" for event in known.events):
                known = await self._list()
            self.known = await self._open(known)
            if self.known.status != 200:
                self.known.events.append({"type": "ERROR"})
                self.known.over = True
        return self.known

    async def _open(self, known: Watching) -> Watching:
        asked = {**self.selection, "resourceVersion": known.revision, "allowWatchBookmarks": "true"}
        watch = await self._stack.enter_async_context(watching(self.world, self.path, **asked))
        watch.objects, watch.revision, watch.heard = dict(known.objects), known.revision, self.heard
        return watch

    async def _list(self) -> Watching:
        self.relisted += 1
        document = (await self.world.admin.get(self.path, params={**self.selection, "limit": "2"})).json()
        items, version = document["items"], int(document["metadata"]["resourceVersion"])
        while cursor := document["metadata"].get("continue"):
            query = {**self.selection, "limit": "2", "continue": str(cursor)}
            document = (await self.world.admin.get(self.path, params=query)).json()
            items += document["items"]
        watch = Watching(self.world, asyncio.Queue())
        watch.objects = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in items}
        watch.revision = version
        return watch

    async def break_off(self) -> None:
        """Hangs up without a word."""
        await self._stack.aclose()
        if self.known is not None:
            self.known.over = True

    async def agrees(self, revision: int) -> None:
        """Having heard everything up to the revision, it knows what LIST says of it."""
        while True:
            watch = await self.follow()
            await watch.up_to(revision)
            if not watch.over:
                break
        exact = {**self.selection, "resourceVersion": str(watch.revision), "resourceVersionMatch": "Exact"}
        answer = await self.world.admin.get(self.path, params=exact)
        assert answer.status_code == 200, answer.text
        assert list(dict(sorted(watch.objects.items())).values()) == answer.json()["items"]


@asynccontextmanager
async def two_replicas(databases: Databases, url: str) -> AsyncIterator[tuple[World, World]]:
    async with (
        started_world(url, databases.bootstrapped) as one,
        started_world(url, databases.bootstrapped, one.clock) as other,
        running_feed(one),
        running_feed(other),
    ):
        yield one, other


async def write(world: World, root: str, what: str, name: str, tier: str | None) -> None:
    """One write of one writer. Whether it succeeds is the database's business: several run at once."""
    path = f"{root}/{name}"
    match what:
        case "create":
            answer = await world.admin.post(root, json=account(name, labels={"tier": tier} if tier else {}))
        case "label":
            answer = await world.admin.patch(path, json={"metadata": {"labels": {"tier": tier}}}, headers=MERGE)
        case "describe":
            answer = await world.admin.patch(
                path, json={"spec": {"purpose": world.clock.now().isoformat()}}, headers=MERGE
            )
        case "delete":
            answer = await world.admin.delete(path)
        case "finalize":
            answer = await world.admin.patch(path, json={"metadata": {"finalizers": ["example.com/f"]}}, headers=MERGE)
        case _:
            answer = await world.admin.patch(path, json={"metadata": {"finalizers": []}}, headers=MERGE)
    assert answer.status_code in {200, 201, 404, 409, 422}, answer.text
    world.clock.advance(seconds=0.001)


async def play(worlds: tuple[World, World], namespace: str, script: list[tuple[str, Any]]) -> Counter[str]:
    """The script, then everybody compares. What the watchers were told, and how often one had to list anew."""
    one, _ = worlds
    await one.namespace(namespace)
    root = ACCOUNTS.format(namespace=namespace)
    followers = [Follower(world, root, selection) for world in worlds for selection in SELECTIONS]
    try:
        for follower in followers:
            await follower.follow()
        for what, detail in [*script, ("compare", None)]:
            match what:
                case "write":
                    await asyncio.gather(*(write(worlds[replica], root, *one_write) for replica, one_write in detail))
                case "break off":
                    await followers[detail].break_off()
                case "trim":
                    async with one.issuer.databases[0].transaction() as connection:
                        await trim_log(connection, keep_s=-1)
                case _:
                    await compare(worlds, followers)
        told = Counter(event["type"] for follower in followers for event in follower.heard)
        return told + Counter(relisted=sum(follower.relisted for follower in followers) - len(followers))
    finally:
        for follower in followers:
            await follower.break_off()
        await one.admin.delete(f"{NAMESPACES}/{namespace}")
        while not await one.issuer.resources.empty_namespace(namespace):
            for each in (await one.admin.get(root)).json()["items"]:
                await write(one, root, "release", each["metadata"]["name"], None)


async def compare(worlds: tuple[World, World], followers: list[Follower]) -> None:
    for world in worlds:
        await world.issuer.reloader.catch_up()
    version = (await worlds[0].admin.get(NAMESPACES)).json()["metadata"]["resourceVersion"]
    for follower in followers:
        # A quiet watch says how far it is by a bookmark, which comes before its stream ends.
        await follower.agrees(int(version))


def test_every_watcher_s_state_is_list_at_its_revision(databases: Databases) -> None:
    made, told = count(), Counter[str]()
    with databases.copy() as url, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        worlds = runner.run(stack.enter_async_context(two_replicas(databases, url)))

        @example(A_WHOLE_LIFE)
        @given(st.lists(steps, min_size=8, max_size=24))
        @settings(
            max_examples=8,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        def holds(script: list[tuple[str, Any]]) -> None:
            told.update(runner.run(play(worlds, f"example-{next(made)}", script)))

        try:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(lists, "BOOKMARK_S", 0.02)
                holds()
        finally:
            runner.run(stack.aclose())
    # What never happened was not tested.
    assert min(told[each] for each in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "relisted")) > 0, told
