"""The table of grants. A new grant is one row: its name and how its parameters become a `TokenAsk`.

Discovery's `grant_types_supported` is this table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from issuer.failures import Failure, Refusal
from issuer.model.scopes import is_scope
from issuer.protocol.request import TokenRequest

MAX_SCOPES = 256


@dataclass(frozen=True, slots=True)
class TokenAsk:
    """What the client asks for. `scopes` None: whatever is its default. `resource` None: its default audience."""

    scopes: tuple[str, ...] | None
    resource: str | None


@dataclass(frozen=True, slots=True)
class GrantType:
    """One row of the table."""

    name: str
    parse_ask: Callable[[TokenRequest], TokenAsk]


def find_grant(request: TokenRequest) -> GrantType:
    """The row the request names. Raises Refusal (`invalid_request`, `unsupported_grant_type`)."""
    name = request.parameters.get("grant_type")
    if name is None:
        raise Refusal(Failure.GRANT_TYPE_MISSING)
    row = GRANTS.get(name)
    if row is None:
        raise Refusal(Failure.GRANT_TYPE_UNKNOWN)
    return row


def _client_credentials(request: TokenRequest) -> TokenAsk:
    """RFC 6749 section 4.4.2 with RFC 8707 section 2."""
    return TokenAsk(parse_scope(request.parameters.get("scope")), parse_target(request.targets))


GRANTS: Mapping[str, GrantType] = {row.name: row for row in (GrantType("client_credentials", _client_credentials),)}


def parse_scope(text: str | None) -> tuple[str, ...] | None:
    """The scope tokens in order, each once (RFC 6749 section 3.3). Raises Refusal (`invalid_scope`)."""
    if text is None:
        return None
    tokens = tuple(dict.fromkeys(text.split(" ")))
    if len(tokens) > MAX_SCOPES or not is_scope(text):
        raise Refusal(Failure.SCOPE_MALFORMED)
    return tokens


def parse_target(targets: tuple[tuple[str, str], ...]) -> str | None:
    """The one resource server the token is for: `resource` (RFC 8707 section 2), or its alias `audience`, any string.

    Raises Refusal (`invalid_target`) for two different ones and for a `resource` that is not an absolute URI.
    """
    if not targets:
        return None
    for name, value in targets:
        if name == "resource" and not _is_absolute_uri(value):
            raise Refusal(Failure.RESOURCE_MALFORMED)
    values = {value for _, value in targets}
    if len(values) > 1:
        raise Refusal(Failure.RESOURCE_REPEATED)
    return values.pop()


def _is_absolute_uri(value: str) -> bool:
    """RFC 3986 section 4.3: a scheme, something after it, no fragment."""
    if "#" in value or not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))
