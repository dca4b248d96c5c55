"""Discovery: what the tables enable, said in RFC 8414 and OpenID Connect Discovery documents.

Computed from the tables of grants and methods, so that it cannot lie; checked with Authlib's rules when it is built. One
truth is outside those rules: `response_types_supported` is empty, since there is no authorization endpoint.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from issuer.protocol.authentication import METHODS
from issuer.protocol.grants import GRANTS

TOKEN_PATH = "/oauth2/token"  # noqa: S105
JWKS_PATH = "/.well-known/jwks.json"
_OAUTH_WELL_KNOWN = "/.well-known/oauth-authorization-server"
_OPENID_WELL_KNOWN = "/.well-known/openid-configuration"

_OUTSIDE_AUTHLIB = frozenset({"response_types_supported"})


def issuer_path(issuer: str) -> str:
    """The path component of the issuer URL as a request's path is matched: decoded, empty for none."""
    return unquote(urlsplit(issuer).path)


def oauth_metadata_path(issuer: str) -> str:
    """RFC 8414 section 3: the well-known string goes between host and path."""
    return _OAUTH_WELL_KNOWN + issuer_path(issuer)


def openid_metadata_path(issuer: str) -> str:
    """OpenID Connect Discovery section 4: the well-known string goes behind the path."""
    return issuer_path(issuer) + _OPENID_WELL_KNOWN


def authorization_server_metadata(issuer: str) -> Mapping[str, Any]:
    """The RFC 8414 section 2 document. Raises ValueError when it breaks Authlib's rules."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "scopes_supported": ["openid"],
        "response_types_supported": [],
        "grant_types_supported": list(GRANTS),
        "token_endpoint_auth_methods_supported": list(METHODS),
    }
    checked = AuthorizationServerMetadata(document)
    for key in AuthorizationServerMetadata.REGISTRY_KEYS:
        if key not in _OUTSIDE_AUTHLIB and not _is_loopback(issuer):
            getattr(checked, f"validate_{key}")()
    return document


def openid_metadata(issuer: str, id_token_algorithms: Sequence[str]) -> Mapping[str, Any]:
    """The OpenID Connect Discovery section 3 document: the same server, and what is true of its ID tokens."""
    return {
        **authorization_server_metadata(issuer),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(id_token_algorithms),
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "jti"],
    }


def _is_loopback(issuer: str) -> bool:
    """Authlib insists on https; settings let http through for a loopback host only."""
    return urlsplit(issuer).scheme == "http"
