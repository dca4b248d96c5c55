"""Removes the contents of deleted namespaces, a bounded batch a transaction; their tokens ended when they were deleted."""

import asyncio
from collections.abc import Callable

from issuer.administration.resources import Resources
from issuer.events import Emit, WorkFailed, place_of
from issuer.snapshot import Snapshot
from issuer.store.database import DatabaseUnavailable

_LOOK_S = 0.25
_AFTER_FAILURE_S = 5


async def empty_terminating_namespaces(
    snapshot: Callable[[], Snapshot | None], resources: Resources, emit: Emit
) -> None:
    """Runs for ever. Any replica may do it, several at once included: a batch locks its namespace."""
    while True:
        await asyncio.sleep(_LOOK_S)
        current = snapshot()
        for namespace in sorted(current.terminating) if current is not None else ():
            try:
                await resources.empty_namespace(namespace)
            except DatabaseUnavailable:
                break
            except Exception as error:  # noqa: BLE001 - one namespace must not stop the others, nor the process
                emit(WorkFailed("namespaces", namespace, type(error).__name__, place_of(error)))
                await asyncio.sleep(_AFTER_FAILURE_S)
