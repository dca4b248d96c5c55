"""`client_secret_basic` and `client_secret_post` (RFC 6749 section 2.3.1)."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from issuer.credentials import match_secret
from issuer.failures import Failure, Refusal
from issuer.protocol.authentication.method import Evidence, Method, Presented, Proof
from issuer.protocol.request import TokenRequest

BASIC = "client_secret_basic"
POST = "client_secret_post"

_BASIC_SCHEME = b"basic "


def _basic_is_presented(request: TokenRequest) -> bool:
    return request.authorization is not None and request.authorization[:6].lower() == _BASIC_SCHEME


def _read_basic(request: TokenRequest) -> Presented:
    """Id and secret, each form-decoded: they were form-encoded before they were joined by the first colon.

    Every failure is `invalid_client`, never a 500 (django-oauth-toolkit #1006, spring-security-oauth #1826).
    """
    try:
        joined = base64.b64decode((request.authorization or b"")[6:].strip(b" "), validate=True)
    except binascii.Error:
        raise Refusal(Failure.CREDENTIAL_MALFORMED, "not base64") from None
    client_id, colon, secret = joined.partition(b":")
    if not colon:
        raise Refusal(Failure.CREDENTIAL_MALFORMED, "no colon")
    return Presented(BASIC, _form_decoded(client_id), _form_decoded(secret).encode())


def _form_decoded(encoded: bytes) -> str:
    try:
        if b"%" in encoded or b"+" in encoded:
            encoded = unquote_to_bytes(encoded.replace(b"+", b" "))
        text = encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(Failure.CREDENTIAL_MALFORMED, "not UTF-8") from None
    if "\0" in text:
        raise Refusal(Failure.CREDENTIAL_MALFORMED, "NUL")
    return text


def _post_is_presented(request: TokenRequest) -> bool:
    return "client_secret" in request.parameters


def _read_post(request: TokenRequest) -> Presented:
    client_id = request.parameters.get("client_id")
    if client_id is None:
        raise Refusal(Failure.CREDENTIAL_MALFORMED, "client_secret without client_id")
    return Presented(POST, client_id, request.parameters["client_secret"].encode())


def _verify(presented: Presented, evidence: Evidence, now: float) -> Proof | None:
    found = match_secret(presented.secret, evidence.secrets, evidence.peppers)
    if found is None:
        return None
    retired = found.accepted_until is not None and found.accepted_until <= now
    return Proof(f"secret/{found.version}", found.version, retired=retired, pending=found.pending)


METHODS = (
    Method(BASIC, _basic_is_presented, _read_basic, _verify),
    Method(POST, _post_is_presented, _read_post, _verify),
)
