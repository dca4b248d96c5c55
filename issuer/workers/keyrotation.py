"""Signing keys take turns by themselves: any replica takes the steps that are due, one at a time."""

from collections.abc import Awaitable, Callable

from issuer.administration.keysteps import KeySteps
from issuer.store.database import DatabaseUnavailable

LOOK_S = 1.0
"""How late a step may be. Looking costs two small queries."""


def rotate_signing_keys(steps: KeySteps) -> Callable[[], Awaitable[None]]:
    """Looks at every KeySet once. One that cannot be brought forward does not hold up the others, and is raised at the end."""

    async def step() -> None:
        failed: Exception | None = None
        for name in await steps.due():
            try:
                await steps.bring_forward(name)
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - the others first
                failed = failed or error
        if failed is not None:
            raise failed

    return step
