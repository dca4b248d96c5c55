"""Scope tokens and audiences: the two name spaces a token is limited by."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from issuer.model.metadata import context_of
from issuer.model.shapes import shaped

ADMIN_AUDIENCE = "urn:issuer:admin"
ADMIN_SCOPE = "issuer:admin"
ADMIN_READ_SCOPE = "issuer:admin:read"
RESERVED_SCOPE_PREFIX = "issuer:"
SYSTEM_NAMESPACE = "issuer-system"

# RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
_SCOPE = re.compile(rf"{_SCOPE_TOKEN.pattern}(?: {_SCOPE_TOKEN.pattern})*")
_AUDIENCE = re.compile(r"[^\s\x00-\x1f\x7f]{1,512}")


def is_scope_token(text: str) -> bool:
    """Whether `text` is one scope-token of RFC 6749 section 3.3, at most 256 characters."""
    return _SCOPE_TOKEN.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Whether `text` is a scope of RFC 6749 section 3.3: scope-tokens joined by single spaces."""
    return _SCOPE.fullmatch(text) is not None


def _scope_token(text: str) -> str:
    if not is_scope_token(text):
        raise PydanticCustomError(
            "scope", "must be a scope token (RFC 6749 section 3.3): printable ASCII without space, quote or backslash"
        )
    return text


def _audience(text: str) -> str:
    if not _AUDIENCE.fullmatch(text):
        raise PydanticCustomError("audience", "must be 1 to 512 characters without white space or control characters")
    return text


ScopeToken = Annotated[str, AfterValidator(_scope_token), shaped(r"^[!#-\[\]-~]+$", shortest=1, longest=256)]
EXACT_SCOPE = shaped(r"^[!#-)+-\[\]-~]+$", shortest=1, longest=256)
"""A scope token without `*`."""
Audience = Annotated[str, AfterValidator(_audience), shaped(r"^[^\s\x00-\x1f\x7f]+$", shortest=1, longest=512)]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=253)]


def without_repeats(values: list[str]) -> list[str]:
    """The same list; refused when a value stands twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise PydanticCustomError("duplicate", "entry {index} repeats an earlier one", {"index": index})
    return values


def _scope_in_reach(scope: str, info: ValidationInfo) -> str:
    if "*" in scope:
        raise PydanticCustomError("scope", "list exact scopes; wildcards belong into policies")
    if scope.startswith(RESERVED_SCOPE_PREFIX):
        if context_of(info).namespace != SYSTEM_NAMESPACE:
            raise PydanticCustomError(
                "forbidden", f"{RESERVED_SCOPE_PREFIX}… scopes work only for accounts in {SYSTEM_NAMESPACE}"
            )
        if scope not in {ADMIN_SCOPE, ADMIN_READ_SCOPE}:
            raise PydanticCustomError(
                "enum", f"of {RESERVED_SCOPE_PREFIX}… only {ADMIN_SCOPE} and {ADMIN_READ_SCOPE} exist"
            )
    return scope


def _audience_in_reach(audience: str, info: ValidationInfo) -> str:
    if audience == ADMIN_AUDIENCE and context_of(info).namespace != SYSTEM_NAMESPACE:
        raise PydanticCustomError("forbidden", f"{ADMIN_AUDIENCE} works only for accounts in {SYSTEM_NAMESPACE}")
    return audience


# Checked one by one, so that every bad entry is named by its place.
HeldScope = Annotated[ScopeToken, AfterValidator(_scope_in_reach), EXACT_SCOPE]
"""A scope of an account: exact, and the issuer's own only in `issuer-system`."""
HeldAudience = Annotated[Audience, AfterValidator(_audience_in_reach)]
"""An audience of an account: the admin API's only in `issuer-system`."""
