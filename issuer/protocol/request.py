"""A token request: what the client wants, not yet a claim that it makes sense (RFC 6749 section 3.2).

Parameters without a value count as omitted, unknown ones are ignored, none may stand twice (section 3.2), none may stand in
the URL, where logs and proxies keep it (section 2.3.1; spring AS #1378, opencrvs PR #13599, coder PR #29508).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from issuer.failures import Failure, Refusal

MAX_BODY_BYTES = 65_536
MAX_PARAMETERS = 64

_FORM = "application/x-www-form-urlencoded"
# The two that RFC 8707 section 2 lets stand more than once; their own rule is in `grants`.
_REPEATABLE = frozenset({"resource", "audience"})


@dataclass(frozen=True, slots=True)
class WireRequest:
    """What arrived, untouched. `authorization`: the values of every Authorization header. `source`: see `protocol.source`.

    `trace_id`: see `protocol.tracing`.
    """

    method: str
    content_type: str
    query: bytes
    authorization: tuple[bytes, ...] = field(repr=False)
    body: bytes = field(repr=False)
    source: str
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The parameters by name, each once; `targets` are the values of `resource` and `audience`, in order."""

    parameters: Mapping[str, str] = field(repr=False)
    targets: tuple[tuple[str, str], ...]
    authorization: bytes | None = field(repr=False)


def parse_token_request(wire: WireRequest) -> TokenRequest:
    """The request's parameters. Raises Refusal (`invalid_request`)."""
    if wire.method != "POST":
        raise Refusal(Failure.METHOD_NOT_POST)
    if wire.query:
        raise Refusal(Failure.PARAMETER_IN_QUERY)
    if wire.content_type.partition(";")[0].strip().lower() != _FORM:
        raise Refusal(Failure.CONTENT_TYPE)
    if len(wire.body) > MAX_BODY_BYTES:
        raise Refusal(Failure.BODY_TOO_LARGE)
    if len(wire.authorization) > 1:
        raise Refusal(Failure.AUTHORIZATION_REPEATED)

    parameters: dict[str, str] = {}
    targets = []
    for name, value in _pairs(wire.body):
        if "\0" in value or "\0" in name:
            raise Refusal(Failure.PARAMETER_ENCODING, "NUL")
        if name in _REPEATABLE:
            targets.append((name, value))
        elif name in parameters:
            raise Refusal(Failure.PARAMETER_REPEATED)
        else:
            parameters[name] = value
    return TokenRequest(parameters, tuple(targets), wire.authorization[0] if wire.authorization else None)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    """Names and values in order, those without a value left out.

    What `urllib.parse.parse_qsl` gives (a test holds the two together), without decoding what is not encoded: on the hot path.
    """
    if body.count(b"&") >= MAX_PARAMETERS:
        raise Refusal(Failure.TOO_MANY_PARAMETERS)
    pairs = []
    try:
        for part in body.decode("utf-8").split("&"):
            name, _, value = part.partition("=")
            if value and ("%" in part or "+" in part):
                name, value = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
            if value:
                pairs.append((name, value))
    except UnicodeDecodeError:
        raise Refusal(Failure.PARAMETER_ENCODING, "not UTF-8") from None
    return pairs
