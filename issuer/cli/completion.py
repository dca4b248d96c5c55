"""What the shell offers after TAB: kinds from the table, names from the issuer that is configured, or nothing.

Completion never disturbs: whatever goes wrong, and an issuer that takes its time, mean that nothing is offered. Only possible
names are: zsh evaluates what it is given.
"""

from collections.abc import Iterator
from dataclasses import fields

import typer

from issuer.cli.connection import Connection
from issuer.cli.named import DEFAULT_NAMESPACE, path_of
from issuer.cli.session import Session, http_client
from issuer.cli.versions import CREDENTIALS
from issuer.model.kinds import KEY_SET, KINDS, NAMESPACE, SERVICE_ACCOUNT, Kind, kind_named

TIMEOUT_S = 1.0
"""For each step of each request: a person waits for it."""

_PAGE = "500"
_QUALIFYING = frozenset({"describe", "edit"})
"""Commands on a kind that take NAMESPACE/NAME."""

Offer = tuple[str, str]
"""A word and what it is, for shells that show that."""


def complete_kinds(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Kinds, or `KIND/NAME` once the kind and the slash are there."""
    word, slash, _ = incomplete.partition("/")
    if not slash:
        kinds = [(kind.plural, " or ".join((kind.kind, *kind.short))) for kind in KINDS]
        return [*kinds, ("credentials", "of one service account")] if ctx.info_name == "get" else kinds
    kind = kind_named(word)
    return [(f"{word}/{name}", "") for name in _names(ctx, kind, _namespace(ctx))] if kind else []


def complete_names(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Names of objects of the kind before them, as NAMESPACE/NAME where that is understood and -n names no namespace."""
    word = str(ctx.params.get("kind") or "")
    its_credentials = word.lower() in CREDENTIALS
    kind = SERVICE_ACCOUNT if its_credentials else kind_named(word)
    if kind is None:
        return []
    if (its_credentials or ctx.info_name in _QUALIFYING) and not ctx.params.get("namespace"):
        return _qualified(ctx, kind, incomplete)
    return [(name, "") for name in _names(ctx, kind, _namespace(ctx))]


def complete_accounts(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Accounts as NAMESPACE/NAME."""
    return _qualified(ctx, SERVICE_ACCOUNT, incomplete)


def complete_namespaces(ctx: typer.Context) -> list[Offer]:
    """Names of namespaces."""
    return [(name, "") for name in _names(ctx, NAMESPACE, "")]


def complete_keysets(ctx: typer.Context) -> list[Offer]:
    """Names of KeySets."""
    return [(name, "") for name in _names(ctx, KEY_SET, "")]


def _qualified(ctx: typer.Context, kind: Kind, incomplete: str) -> list[Offer]:
    """From every namespace; once one is typed, with its slash, from that one."""
    namespace, slash, _ = incomplete.partition("/")
    return [(found, "") for found in _found(ctx, kind, namespace if slash else "")]


def _namespace(ctx: typer.Context) -> str:
    return str(ctx.params.get("namespace") or DEFAULT_NAMESPACE)


def _names(ctx: typer.Context, kind: Kind, namespace: str) -> list[str]:
    return [found.rpartition("/")[2] for found in _found(ctx, kind, namespace)]


def _found(ctx: typer.Context, kind: Kind, namespace: str) -> list[str]:
    """The first page of what there is, as `NAMESPACE/NAME` or `NAME`."""
    try:
        return list(_ask(ctx, kind, namespace))
    except Exception:  # noqa: BLE001 - nobody asked for an answer: no completion is the right one to any trouble
        return []


def _ask(ctx: typer.Context, kind: Kind, namespace: str) -> Iterator[str]:
    connection = Connection(**{each.name: ctx.params.get(each.name) for each in fields(Connection)})
    with http_client() as client:
        client.timeout = TIMEOUT_S
        session = Session(client, connection.known(), write=False)
        page = session.call("GET", path_of(kind, namespace), params={"limit": _PAGE})
    for item in page["items"]:
        within, name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
        if kind.accepts_name(name) and (not kind.namespaced or NAMESPACE.accepts_name(within)):
            yield f"{within}/{name}" if within else name
