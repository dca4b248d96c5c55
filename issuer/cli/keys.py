"""`issuer keys`: signing keys as they stand and what happens to them next; a rotation now, a key that leaked."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from issuer.cli.completion import complete_keysets
from issuer.cli.connection import Connection, connected
from issuer.cli.named import Named, about, path_of
from issuer.cli.output import CommandError, note, print_table, when
from issuer.cli.session import RefusedError
from issuer.model.kinds import KEY_SET

app = typer.Typer(
    name="keys",
    help="Signing keys: how they stand, what happens next, and what to do when one leaks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CONFLICT = 409
_ABSENT = "<none>"
_SINCE = {"pending": "publishedAt", "active": "activatedAt", "compromised": "compromisedAt"}

KeySetArgument = Annotated[
    str, typer.Argument(metavar="KEYSET", help="The KeySet.", autocompletion=complete_keysets, show_default=False)
]


@app.command("list")
@connected
def list_keys(
    connection: Connection,
    keyset: Annotated[
        str | None,
        typer.Argument(metavar="KEYSET", help="Only this KeySet.", autocompletion=complete_keysets),
    ] = None,
) -> None:
    """Show every signing key: its state, since when, and what happens next and when.

    Example: issuer keys list
    """
    with connection.session(write=False) as session:
        if keyset is None:
            keysets = session.list(path_of(KEY_SET))
        else:
            named = _named(keyset)
            with about(named):
                keysets = [session.call("GET", named.path)]
    now_s = time.time()
    rows = [row for each in keysets for row in _rows(each, now_s)]
    print_table(["KEYSET", "KID", "ALGORITHM", "STATE", "SINCE", "NEXT"], rows)


@app.command()
@connected
def rotate(
    connection: Connection,
    keyset: KeySetArgument,
    emergency: Annotated[
        bool,
        typer.Option(
            "--emergency", help="Although verifiers may not know the next key yet: tokens fail there until they do."
        ),
    ] = False,
) -> None:
    """Let the next key sign now, before its turn. The one that did stays published for what it signed.

    Refused while verifiers may not know the next key yet; the answer says from when on they do.

    Example: issuer keys rotate default
    """
    named = _named(keyset)
    with connection.session(write=True) as session, about(named):
        try:
            params = {"emergency": "true"} if emergency else None
            rotated = session.call("POST", f"{named.path}/rotate", params=params)
        except RefusedError as refused:
            if refused.code == CONFLICT and not emergency and "emergency" in refused.message:
                refused.next_step = "`issuer keys list` shows when; --emergency does it now"
            raise
    print(f"{named} rotated: {_signing(rotated)} signs now")


@app.command()
@connected
def compromise(
    connection: Connection,
    keyset: KeySetArgument,
    kid: Annotated[
        str | None, typer.Option("--kid", metavar="KID", help="Which key. Without it: the one that signs now.")
    ] = None,
) -> None:
    """Somebody else may have a key: it leaves the JWKS at once, and if it signed, the next one does.

    Every token it signed is refused from now on by whoever fetches the JWKS, genuine or not; your own tokens included.

    Example: issuer keys compromise default
    """
    named = _named(keyset)
    with connection.session(write=True) as session, about(named):
        key = kid or _signing(session.call("GET", named.path))
        if key is None:
            raise CommandError(
                f"{named} has no key that signs", next_step="name one with --kid; `issuer keys list` shows them"
            )
        told = session.call("POST", f"{named.path}/compromise", body={"kid": key})
    signs = f"{told['signing']} signs now" if "signing" in told else "a new key signs within seconds"
    print(f"{named}: {key} left the JWKS; {signs}")
    if "signedFrom" in told:
        note(
            f"It signed from {told['signedFrom']} to {told['signedUntil']}. Tokens of that time are refused; the last of "
            f"them expires at {told['lastExpiry']}."
        )
    note(f"Verifiers that keep the JWKS may trust it until {told['trustedUntil']}: restart those that matter.")


def _named(keyset: str) -> Named:
    named = Named(KEY_SET, "", keyset)
    named.check()
    return named


def _keys(keyset: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (keyset.get("status") or {}).get("keys") or ()


def _signing(keyset: Mapping[str, Any]) -> str | None:
    return next((str(key["kid"]) for key in _keys(keyset) if key.get("state") == "active"), None)


def _rows(keyset: Mapping[str, Any], now_s: float) -> Iterator[list[str]]:
    name, keys, status = keyset["metadata"]["name"], _keys(keyset), keyset.get("status") or {}
    if not keys:
        yield [name, _ABSENT, keyset["spec"]["algorithm"], _ABSENT, _ABSENT, "its first key is made within seconds"]
    for index, key in enumerate(keys):
        state = str(key.get("state"))
        successors = (later["activatedAt"] for later in keys[index + 1 :] if later.get("activatedAt"))
        since = key.get(_SINCE[state]) if state in _SINCE else next(successors, None)
        following = _next(key, status.get("nextRotation"), now_s)
        yield [name, key["kid"], key["algorithm"], state, when(since, now_s), following]


def _next(key: Mapping[str, Any], rotation: str | None, now_s: float) -> str:
    """What becomes of a key, and when."""
    match key.get("state"):
        case "pending":
            return f"signs from {when(rotation, now_s)}" if rotation else "signs after `issuer keys rotate`"
        case "active":
            return f"signs until {when(rotation, now_s)}" if rotation else "signs until it is rotated"
        case "retiring":
            return f"leaves the JWKS {when(key.get('retiresAt'), now_s)}"
        case _:
            return "is deleted when nothing it signed can be good any more"
