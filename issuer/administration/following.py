"""Accounts follow policies: after one was written, `nextCredentialRotation` of every account it reaches says what holds now.

A walk goes through the accounts in the order of their names, some at a time, each step one transaction that also keeps how
far it has come: any replica takes the next step, and after a crash any other goes on. Tokens need none of it, they are decided
on the policies themselves; neither does the rotator, which decides on them once more.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from issuer.administration.authorize import SYSTEM
from issuer.administration.secrets import SecretKeeper
from issuer.administration.writing import Write, WritePath
from issuer.model.kinds import AUTH_POLICY, CLUSTER_AUTH_POLICY, NAMESPACE
from issuer.model.resource import Resource
from issuer.snapshot import Snapshot
from issuer.store.clock import Clock
from issuer.store.resources import MAX_CHANGES, Change
from issuer.store.rotation import (
    Walk,
    Written,
    accounts_after,
    claim_walk,
    lock_accounts,
    policies_written,
    save_walk,
)
from issuer.store.secrets import load_versions_of

PAGE = 200
"""Accounts a step looks at; it writes at most `MAX_CHANGES` of them."""
_REST = 3.0
_TURN = 10
_DECISIVE = ("credentialRotation", "clientAuthentication")
"""Parts of a policy that rotation depends on."""
_REACH = ("selector", "namespaceSelector", "appliesToSystem")


class PolicyFollower:
    """Brings accounts to what policies say. `snapshot`: the policies this process knows, and as of which revision."""

    def __init__(
        self, path: WritePath, keeper: SecretKeeper, snapshot: Callable[[], Snapshot | None], clock: Clock
    ) -> None:
        self._path = path
        self._keeper = keeper
        self._snapshot = snapshot
        self._clock = clock
        self._noticed = -1
        self._done = -1

    async def follow(self) -> None:
        """Takes steps until the accounts are where the policies were at the last call of this.

        Not where they are now: an account written on another replica in this very moment may be stated under the policies
        of before. By the next call no replica in reach of the database knows less than this one knew at the last.
        """
        snapshot = self._snapshot()
        if snapshot is None:
            return
        target, self._noticed = self._noticed, snapshot.revision
        if target <= self._done:
            return
        elapsed_s = self._path.sources.elapsed_s
        more = True
        while more:
            began = elapsed_s()
            more = await self._step(target)
            if more:
                await asyncio.sleep((elapsed_s() - began) * _REST)

    async def _step(self, target: int) -> bool:
        """Whether there is more to do."""
        async with self._path.write(SYSTEM, "reschedule") as write:
            walk = await claim_walk(write.connection)
            if walk is None:
                return False
            if walk.target is None:
                walk = await self._begun(write, walk, target)
            if walk.target is None or walk.target > self._noticed:
                self._done = walk.done
                return False
            walk, changes = await self._walked(write, walk)
            await save_walk(write.connection, walk)
            if changes:
                await write.commit(*changes)
        return True

    async def _begun(self, write: Write, walk: Walk, target: int) -> Walk:
        """A walk to `target`, or none where nothing that was written since concerns an account."""
        if target <= walk.done:
            return walk
        written = await policies_written(write.connection, walk.done, target)
        namespaces = reach_of(written) if written is not None else None
        if namespaces is not None and not namespaces:
            walk = Walk(target)
            await save_walk(write.connection, walk)
            return walk
        return Walk(walk.done, target, namespaces)

    async def _walked(self, write: Write, walk: Walk) -> tuple[Walk, list[Change]]:
        """The walk some accounts further, and what of them has changed."""
        now = await self._clock(write.connection)
        page = await accounts_after(write.connection, walk.after, walk.namespaces, PAGE)
        behind: list[Resource] = []
        seen = 0
        for account, stated in await self._stated(write, page, now):
            seen += 1
            walk = replace(walk, after=(account.namespace, account.name))
            if stated != account:
                behind.append(account)
            if len(behind) == MAX_CHANGES:
                break
        if len(page) < PAGE and seen == len(page):
            walk = Walk(walk.target if walk.target is not None else walk.done)
        locked = await lock_accounts(write.connection, [account.uid for account in behind]) if behind else []
        restated = await self._stated(write, locked, now)
        return walk, [Change(account, stated) for account, stated in restated if stated != account]

    async def _stated(
        self, write: Write, accounts: Sequence[Resource], now: datetime
    ) -> list[tuple[Resource, Resource]]:
        """Each account as it is, and as it would be stated now."""
        versions = await load_versions_of(write.connection, [account.uid for account in accounts])
        stated = []
        for number, account in enumerate(accounts, 1):
            stated.append((account, self._keeper.stated(account, versions[account.uid], now)))
            if number % _TURN == 0:
                await asyncio.sleep(0)  # tokens are issued on the same loop
        return stated


def reach_of(written: Sequence[Written]) -> tuple[str, ...] | None:
    """The namespaces whose accounts may rotate otherwise after these writes; None for all of them."""
    namespaces: set[str] = set()
    for each in written:
        if each.kind == CLUSTER_AUTH_POLICY.kind and _decides_otherwise(each):
            return None
        if each.kind == AUTH_POLICY.kind and _decides_otherwise(each):
            namespaces.add(each.namespace)
        if each.kind == NAMESPACE.kind and _labels(each.before) != _labels(each.after):
            namespaces.add(each.name)
    return tuple(sorted(namespaces))


def _decides_otherwise(written: Written) -> bool:
    """Whether rotation may depend on what was changed in the policy."""
    before, after = ((each or {}).get("spec", {}) for each in (written.before, written.after))
    if not any(part in spec for spec in (before, after) for part in _DECISIVE):
        return False
    return any(before.get(part) != after.get(part) for part in (*_DECISIVE, *_REACH))


def _labels(namespace: Mapping[str, Any] | None) -> Any:
    return ((namespace or {}).get("metadata") or {}).get("labels")
