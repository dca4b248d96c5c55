"""`issuer rotate`: a new secret reaches its place first and is acknowledged second, so no crash loses it."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from io import UnsupportedOperation
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any

import typer

from issuer.cli.connection import Connection, connected
from issuer.cli.named import NOT_FOUND, Named, about, parse_account
from issuer.cli.output import CommandError, UsageError, give_up_stdout, note, to_json
from issuer.cli.privatefile import private_file
from issuer.cli.resources import Force
from issuer.cli.session import RefusedError, Session
from issuer.model.kinds import NAMESPACE

CONFLICT = 409


class CredentialFormat(StrEnum):
    """How `rotate` writes a credential."""

    ENV = "env"
    JSON = "json"


AccountArgument = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The service account.")]


@connected
def rotate(
    connection: Connection,
    account: AccountArgument,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="The old secret is known to others: refuse it at once, without grace.")
    ] = False,
    grace_hours: Annotated[
        int | None, typer.Option("--grace-hours", min=0, help="How long the old secret is accepted beside the new one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write to this file (mode 0600), not to standard output."),
    ] = None,
    output: Annotated[
        CredentialFormat, typer.Option("--output", "-o", help="CLIENT_ID= and CLIENT_SECRET= lines, or JSON.")
    ] = CredentialFormat.ENV,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Fetch a secret that was made but never acknowledged, instead of a new one."),
    ] = False,
    force: Force = False,
) -> None:
    """Hand out an account's secret: the first one, or a new one.

    It is written first and acknowledged then. The old secret is accepted until then, and for its grace period.

    Example: issuer rotate payments-prod/payment-service --out payment.env
    """
    named = parse_account(account)
    if resume and (compromised or grace_hours is not None):
        raise UsageError("--resume fetches a secret already made: --compromised and --grace-hours cannot change it")
    wish: dict[str, Any] = {"compromised": True} if compromised else {}
    wish |= {} if grace_hours is None else {"gracePeriodHours": grace_hours}
    with connection.session(write=True) as session, _destination(out) as write, about(named):
        credential = _current(session, named) if resume else _handed_out(session, named, wish, force=force)
        try:
            write(_text_of(credential, output))
        except OSError as error:
            if out is None:
                give_up_stdout()
            raise CommandError(
                f"the secret could not be written to {out or 'standard output'}: {error.strerror}",
                next_step=f"it is not lost: `issuer rotate {account} --resume` writes it again and acknowledges it",
            ) from None
        _acknowledge(session, named, credential["version"])
    note(f"{named}{named.place}: version {credential['version']} delivered" + (f" to {out}" if out else ""))


def _handed_out(session: Session, named: Named, wish: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
    try:
        return session.call("POST", f"{named.path}/credentials", body=wish, params={"force": "true"} if force else None)
    except RefusedError as refused:
        if refused.code == CONFLICT:
            refused.next_step = (
                "somebody else may hold a version that is not delivered yet, or an earlier `issuer rotate` was cut "
                "off: --resume fetches that version, --compromised cuts it off and makes another"
            )
        raise


def _current(session: Session, named: Named) -> dict[str, Any]:
    try:
        return session.call("GET", f"{named.path}/credentials/current")
    except RefusedError as refused:
        if refused.code == NOT_FOUND and refused.kind != NAMESPACE.kind:
            refused.next_step = "nothing waits for delivery there: without --resume a new secret is made"
        raise


def _acknowledge(session: Session, named: Named, version: int) -> None:
    try:
        session.call("POST", f"{named.path}/credentials/{version}/acknowledge")
    except CommandError as trouble:
        raise CommandError(
            f"the secret is written, but version {version} could not be acknowledged: {trouble.message}",
            details=trouble.details,
            next_step="the secret works; acknowledge it with `issuer rotate … --resume`, which writes it once more",
        ) from None


def _text_of(credential: Mapping[str, Any], style: CredentialFormat) -> str:
    if style is CredentialFormat.JSON:
        return to_json(credential) + "\n"
    return f"CLIENT_ID={credential['clientId']}\nCLIENT_SECRET={credential['clientSecret']}\n"


@contextmanager
def _destination(out: Path | None) -> Iterator[Callable[[str], None]]:
    """A function that returns only once the text is where it was wanted; a file is opened before a secret is made."""
    if out is None:
        yield _to_stdout
        return
    target = out.resolve()
    if target.exists() and not target.is_file():
        raise UsageError(f"--out {out} is not a regular file", next_step="leave --out away to write to standard output")
    with private_file(target) as write:
        yield write


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
    with suppress(UnsupportedOperation):
        handle = sys.stdout.fileno()
        if S_ISREG(os.fstat(handle).st_mode):
            os.fsync(handle)
