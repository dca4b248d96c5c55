"""Signing keys take turns by themselves: any replica takes the steps that are due, one at a time."""

from collections.abc import Awaitable, Callable

from issuer.administration.keysteps import KeySteps
from issuer.events import Emit, Work, WorkFailed, place_of
from issuer.store.database import DatabaseUnavailable
from issuer.workers.housekeeping import WorkUndone

WORK: Work = "signing keys"
LOOK_S = 1.0
"""How late a step may be. Looking costs two small queries."""


def rotate_signing_keys(steps: KeySteps, emit: Emit) -> Callable[[], Awaitable[None]]:
    """Looks at every KeySet once. One that cannot be brought forward is named in an event, and does not hold up the others.

    Raises WorkUndone at the end when there was such a one.
    """

    async def step() -> None:
        failed = []
        for name in await steps.due():
            try:
                await steps.bring_forward(name)
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - the others first
                emit(WorkFailed(WORK, name, type(error).__name__, place_of(error)))
                failed.append(name)
        if failed:
            raise WorkUndone(", ".join(failed))

    return step
