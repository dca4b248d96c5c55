"""How an account was used, as `issuer describe` tells it: how often, when last, by what, for what and from where."""

from collections.abc import Iterator, Mapping
from typing import Any

from issuer.cli.named import NOT_FOUND, Named
from issuer.cli.output import print_table, when
from issuer.cli.session import RefusedError, Session
from issuer.model.kinds import SERVICE_ACCOUNT

_SHOWN = 5
"""Scopes and sources that are told, those that were used last."""
_REST = "all others"


def usage_of(session: Session, named: Named) -> dict[str, Any] | None:
    """Of an account; None of anything else, and from an issuer that does not keep any yet."""
    if named.kind is not SERVICE_ACCOUNT:
        return None
    try:
        return session.call("GET", f"{named.path}/usage")
    except RefusedError as refused:
        if refused.code != NOT_FOUND:
            raise
        return None


def print_usage(usage: Mapping[str, Any], now_s: float, *, indent: int) -> None:
    """A line for the whole, for each credential, and for the scopes and sources that were used last."""
    if not usage.get("lastUsed"):
        print(" " * indent + "none")
        return
    rows = [
        [what, str(each["issued"]), str(each["refused"]), when(each.get("lastUsed"), now_s)]
        for what, each in _lines(usage)
    ]
    print_table(["BY", "TOKENS", "REFUSED", "LAST USED"], rows, indent=indent)


def _lines(usage: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "the account", usage
    for each in usage["credentials"]:
        yield f"credential {each.get('credential', _REST)}", each
    for each in usage["scopes"][:_SHOWN]:
        audience = f" for {each['audience']}" if each.get("audience") else ""
        scope = "not its own" if each.get("scope") == "?" else each.get("scope", _REST)
        yield f"scope {scope}{audience}", each
    for each in usage["sources"][:_SHOWN]:
        yield f"source {each.get('source', _REST)}", each
