"""Secret versions as people read them: taken from an account's status, so there is never a secret among them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from issuer.cli.connection import Connection
from issuer.cli.named import DEFAULT_NAMESPACE, Named, about, parse_account
from issuer.cli.output import Format, UsageError, note, print_document, print_table, when
from issuer.model.kinds import SERVICE_ACCOUNT

CREDENTIALS = frozenset({"credentials", "credential"})
"""What `issuer get` calls them. They are no kind of their own: they live and die with their account."""

_NEXT = {
    "pending": "waits for its driver to store it",
    "active": "in force",
    "grace": "accepted until it retires",
    "retired": "refused",
}


def show_credentials(connection: Connection, account: str | None, namespace: str | None, output: Format) -> None:
    """`issuer get credentials`. Raises CommandError."""
    if account is None:
        raise UsageError(
            "whose credentials? They belong to one account", next_step="issuer get credentials NAMESPACE/NAME"
        )
    if "/" in account:
        named = parse_account(account)
    else:
        named = Named(SERVICE_ACCOUNT, namespace or DEFAULT_NAMESPACE, account)
        named.check()
    with connection.session(write=False) as session, about(named, implied=namespace is None and "/" not in account):
        found = session.call("GET", named.path)
    versions = versions_of(found)
    if output is not Format.TABLE:
        print_document(list(versions), output)
    elif versions:
        print_versions(found)
    else:
        note(f"{named}{named.place} has no credentials: it accepts no client secret.")


def versions_of(account: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the account's status lists, oldest first."""
    return (account.get("status") or {}).get("credentials") or ()


def awaits_delivery(account: Mapping[str, Any]) -> bool:
    """Whether the newest version was not acknowledged yet, whoever may have it."""
    conditions = (account.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "CredentialsProvisioned" and each.get("status") == "False" for each in conditions)


def print_versions(account: Mapping[str, Any], *, indent: int = 0) -> None:
    """A line for each version, the newest first."""
    now_s = time.time()
    versions = list(reversed(versions_of(account)))
    headers = ["VERSION", "STATE", "CREATED", "RETIRES"]
    rows = [
        [
            str(each.get("version")),
            str(each.get("state")),
            *(when(each.get(at), now_s) for at in ("createdAt", "retiresAt")),
        ]
        for each in versions
    ]
    if any("lastUsed" in each for each in versions):
        headers.append("LAST USED")
        rows = [[*row, when(each.get("lastUsed"), now_s)] for row, each in zip(rows, versions, strict=True)]
    rows = [[*row, _next(account, each)] for row, each in zip(rows, versions, strict=True)]
    print_table([*headers, "NEXT"], rows, indent=indent)


def _next(account: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """What becomes of it, and what that takes."""
    step = _NEXT.get(str(version.get("state")), "")
    newest = version is versions_of(account)[-1]
    if newest and version.get("state") == "active":
        if awaits_delivery(account):
            return "in use, but nobody said that it is stored"
        due = (account.get("status") or {}).get("nextCredentialRotation")
        return f"rotation is due {due}" if due else step
    return step
