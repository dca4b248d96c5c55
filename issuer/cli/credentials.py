"""`issuer rotate`: a new secret reaches its place first and is acknowledged second, so no crash loses it."""

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from io import UnsupportedOperation
from pathlib import Path
from shlex import quote
from stat import S_ISREG
from typing import Annotated, Any

import typer

from issuer.cli.completion import complete_accounts
from issuer.cli.connection import Connection, connected
from issuer.cli.named import NOT_FOUND, Named, about, parse_account
from issuer.cli.output import CommandError, UsageError, give_up_stdout, note, to_json
from issuer.cli.privatefile import private_file
from issuer.cli.resources import Force
from issuer.cli.session import RefusedError, Session
from issuer.cli.versions import awaits_delivery
from issuer.manifests import to_yaml
from issuer.model.kinds import NAMESPACE

CONFLICT = 409


class CredentialFormat(StrEnum):
    """How `rotate` writes a credential."""

    ENV = "env"
    JSON = "json"
    K8S_SECRET = "k8s-secret"  # noqa: S105 - the name of a format


AccountArgument = Annotated[
    str,
    typer.Argument(metavar="NAMESPACE/NAME", help="The service account.", autocompletion=complete_accounts),
]


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
        CredentialFormat,
        typer.Option("--output", "-o", help="CLIENT_ID= and CLIENT_SECRET= lines, JSON, or a Kubernetes Secret."),
    ] = CredentialFormat.ENV,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Fetch a secret that was made but never acknowledged, instead of a new one."),
    ] = False,
    force: Force = False,
) -> None:
    """Hand out an account's secret: the first one, or a new one.

    It is written first and acknowledged then. The old secret is accepted until then, and for its grace period. Cut off
    in between? Run it again; if it says that a version waits, add --resume.

    Example: issuer rotate payments-prod/payment-service --out payment.env

    Example: issuer rotate payments-prod/payment-service -o k8s-secret --out secret.yaml
    """
    named = parse_account(account)
    if resume and (compromised or grace_hours is not None):
        raise UsageError("--resume fetches a secret already made: --compromised and --grace-hours cannot change it")
    wish: dict[str, Any] = {"compromised": True} if compromised else {}
    wish |= {} if grace_hours is None else {"gracePeriodHours": grace_hours}
    style = "" if output is CredentialFormat.ENV else f" -o {output}"
    again = f"`issuer rotate {account} --resume{style}" + (f" --out {quote(str(out))}" if out else "") + "`"
    with connection.session(write=True) as session, _destination(out) as write, about(named):
        text_of = _writing(session, named, output)  # asked first: nothing may fail between a secret and its place
        credential = _current(session, named) if resume else _handed_out(session, named, wish, again, force=force)
        try:
            write(text_of(credential))
        except OSError as error:
            if out is None:
                give_up_stdout()
            raise CommandError(
                f"the secret could not be written to {out or 'standard output'}: {error.strerror}",
                next_step=f"it is not lost and not acknowledged: {again} writes it again",
            ) from None
        _acknowledge(session, named, credential["version"], again)
    note(f"{named}{named.place}: version {credential['version']} delivered" + (f" to {out}" if out else ""))


def _handed_out(session: Session, named: Named, wish: Mapping[str, Any], again: str, *, force: bool) -> dict[str, Any]:
    try:
        return session.call("POST", f"{named.path}/credentials", body=wish, params={"force": "true"} if force else None)
    except RefusedError as refused:
        if refused.code == CONFLICT:
            with suppress(CommandError):  # the conflict is what to report, whatever the second look comes to
                refused.next_step = _way_out(named, session.call("GET", named.path), again)
        raise


def _way_out(named: Named, account: Mapping[str, Any], again: str) -> str:
    """What to do about a hand-out that was refused, as the account is now."""
    if (account.get("spec") or {}).get("managedBy"):
        return "another tool manages the account and rotates it: --force does it all the same"
    if awaits_delivery(account):
        return (
            "somebody else may hold a version that is not delivered yet, or an earlier `issuer rotate` was cut off: "
            f"{again} fetches that version, --compromised cuts it off and makes another"
        )
    return f"`issuer get credentials {named.namespace}/{named.name}` shows how they stand"


def _current(session: Session, named: Named) -> dict[str, Any]:
    try:
        return session.call("GET", f"{named.path}/credentials/current")
    except RefusedError as refused:
        if refused.code == NOT_FOUND and refused.kind != NAMESPACE.kind:
            refused.next_step = (
                "nothing waits for delivery there: what was acknowledged is where it was written; "
                "without --resume a new secret is made"
            )
        raise


def _acknowledge(session: Session, named: Named, version: int, again: str) -> None:
    try:
        session.call("POST", f"{named.path}/credentials/{version}/acknowledge")
    except CommandError as trouble:
        raise CommandError(
            f"the secret is written, but version {version} could not be acknowledged: {trouble.message}",
            details=trouble.details,
            next_step=f"the secret works; {again} writes it once more and acknowledges it",
        ) from None


def _writing(session: Session, named: Named, style: CredentialFormat) -> Callable[[Mapping[str, Any]], str]:
    """The function that writes a credential down in this style."""
    match style:
        case CredentialFormat.JSON:
            return lambda credential: to_json(credential) + "\n"
        case CredentialFormat.ENV:
            return lambda credential: (
                f"CLIENT_ID={credential['clientId']}\nCLIENT_SECRET={credential['clientSecret']}\n"
            )
        case CredentialFormat.K8S_SECRET:
            called = str(session.call("GET", named.path)["spec"]["credentialsSecretName"])
            return lambda credential: to_yaml(kubernetes_secret(named.namespace, called, credential))


def kubernetes_secret(namespace: str, name: str, credential: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret a workload mounts, with the keys the reference page names.

    Without an owner reference: its owner is no object of the cluster, whose garbage collector would remove the Secret.
    """
    parts = {"client_id": credential["clientId"], "client_secret": credential["clientSecret"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {key: b64encode(str(value).encode()).decode() for key, value in parts.items()},
    }


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
