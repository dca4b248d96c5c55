"""Removes the contents of deleted namespaces, a bounded batch a transaction; their tokens ended when they were deleted."""

import asyncio
from collections.abc import Callable

from issuer.administration.resources import Resources
from issuer.snapshot import Snapshot
from issuer.store.database import DatabaseUnavailable

_LOOK_S = 0.25


async def empty_terminating_namespaces(snapshot: Callable[[], Snapshot | None], resources: Resources) -> None:
    """Runs for ever. Any replica may do it, several at once included: a batch locks its namespace."""
    while True:
        await asyncio.sleep(_LOOK_S)
        current = snapshot()
        for namespace in sorted(current.terminating) if current is not None else ():
            try:
                await resources.empty_namespace(namespace)
            except DatabaseUnavailable:
                break
