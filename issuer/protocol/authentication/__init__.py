"""The table of client authentication methods. A new method is one module here and its row in `METHODS`.

One mechanism per request: found by what is *presented*, then compared with what the account *accepts*, then verified
(DESIGN section 5). Discovery's `token_endpoint_auth_methods_supported` and the methods an account may list are this table.
"""

from collections.abc import Mapping

from issuer.failures import Failure, Refusal
from issuer.protocol.authentication import client_secret
from issuer.protocol.authentication.method import Method, Presented
from issuer.protocol.request import TokenRequest

METHODS: Mapping[str, Method] = {method.name: method for method in client_secret.METHODS}

METHOD_NAMES = frozenset(METHODS)

# How a method without a row is presented: seen, so that two mechanisms are never mistaken for one.
_ASSERTION_PARAMETERS = frozenset({"client_assertion", "client_assertion_type"})


def read_credential(request: TokenRequest) -> Presented:
    """The one credential in the request, unverified.

    Raises Refusal: `invalid_request` for two mechanisms or a `client_id` that is another one's, `invalid_client` for none
    (a `client_id` alone proves nothing: dex #1629), for an unreadable one, and for one this server has no row for.
    """
    found = [method for method in METHODS.values() if method.is_presented(request)]
    assertion = not _ASSERTION_PARAMETERS.isdisjoint(request.parameters)
    foreign_scheme = request.authorization is not None and client_secret.BASIC not in [method.name for method in found]
    if len(found) + assertion + foreign_scheme > 1:
        raise Refusal(Failure.TWO_MECHANISMS)
    if assertion or foreign_scheme:
        raise Refusal(Failure.METHOD_UNKNOWN, "client_assertion" if assertion else "Authorization scheme")
    if not found:
        raise Refusal(Failure.NO_CREDENTIAL)
    presented = found[0].read(request)
    named = request.parameters.get("client_id")
    if named is not None and named != presented.client_id:
        raise Refusal(Failure.CLIENT_ID_CONFLICT)
    return presented
