"""Several objects, one after the other: every one is tried, every refusal is said, any of them fails the command."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import typer

from issuer.cli.output import FAILED, CommandError, note, report
from issuer.cli.session import RefusedError

T = TypeVar("T")


def try_all(targets: Sequence[T], act: Callable[[T], None]) -> None:
    """Every target is tried, and the command fails if any was refused. Without an issuer the rest is not tried."""
    failed = 0
    for index, target in enumerate(targets):
        try:
            act(target)
        except RefusedError as refused:
            report(refused)
            failed += 1
        except CommandError:
            if index + 1 < len(targets):
                note(f"stopped at {target}; {len(targets) - index - 1} more were not tried")
            raise
    if failed:
        raise typer.Exit(FAILED)
