"""What the token endpoint sends back (RFC 6749 section 5): the one map from our refusals to HTTP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from authlib.oauth2.rfc6749 import errors

from issuer.failures import Failure

# Authlib's error classes carry the RFC's code; RFC 8707 and 503s are not among them.
_STATUS_BY_CODE: Mapping[str, int] = {
    errors.InvalidRequestError.error: 400,
    errors.InvalidClientError.error: 401,
    errors.UnauthorizedClientError.error: 400,
    errors.UnsupportedGrantTypeError.error: 400,
    errors.InvalidScopeError.error: 400,
    "invalid_target": 400,
    "temporarily_unavailable": 503,
}
_NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"), (b"content-type", b"application/json"))
_EXTRA_BY_STATUS: Mapping[int, tuple[tuple[bytes, bytes], ...]] = {
    # RFC 6749 section 5.2: the scheme the client used; RFC 9110 section 15.5.2 wants one in every 401.
    401: ((b"www-authenticate", b'Basic realm="issuer", charset="UTF-8"'),),
    503: ((b"retry-after", b"1"),),
}
_STATUS_BY_FAILURE: Mapping[Failure, int] = {
    Failure.METHOD_NOT_POST: 405,
    Failure.BODY_TOO_LARGE: 413,
    Failure.TOO_MANY_TOKENS: 429,
    Failure.TOO_MANY_FAILURES: 429,
}

if missing := {failure.code for failure in Failure} - set(_STATUS_BY_CODE):  # pragma: no cover
    raise RuntimeError(f"no HTTP status for {missing}")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Never cacheable, never in a log."""

    status: int
    body: bytes = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...]


def token_answer(access_token: str, expires_in_s: int, scope: str, id_token: str | None) -> Answer:
    """RFC 6749 section 5.1. `scope` always stands: it may be less than was asked for.

    Joined by hand, on the hot path: compact JWTs and scope tokens (RFC 6749 section 3.3) hold no character that JSON escapes.
    """
    id_part = f',"id_token":"{id_token}"' if id_token is not None else ""
    body = f'{{"access_token":"{access_token}","token_type":"Bearer","expires_in":{expires_in_s},"scope":"{scope}"{id_part}}}'
    return Answer(200, body.encode(), _NO_STORE)


@lru_cache(maxsize=256)
def refusal_answer(failure: Failure, retry_after_s: int | None = None) -> Answer:
    """RFC 6749 section 5.2: code and fixed sentence, nothing of the cause. `retry_after_s`: what a 429 says."""
    status = _STATUS_BY_FAILURE.get(failure, _STATUS_BY_CODE[failure.code])
    body = json.dumps({"error": failure.code, "error_description": failure.sentence}, separators=(",", ":"))
    allow = ((b"allow", b"POST"),) if failure is Failure.METHOD_NOT_POST else ()
    wait = ((b"retry-after", str(retry_after_s).encode()),) if retry_after_s is not None else ()
    return Answer(status, body.encode(), (*_NO_STORE, *_EXTRA_BY_STATUS.get(status, ()), *allow, *wait))
