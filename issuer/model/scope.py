"""Scope: a catalogue entry that says what a scope token is for and how far it may reach."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from issuer.model.durations import Duration
from issuer.model.metadata import Written
from issuer.model.scopes import RESERVED_SCOPE_PREFIX, Audience, LongText, ScopeToken, without_repeats


class ScopeRequirements(Written):
    """What a request must bring for the scope to be granted. Not met yet by any request: such a scope is withheld."""

    sender_constraint: Literal["none", "any", "dpop", "mtls"] = "none"
    approval: bool = False


class ScopeSpec(Written):
    """One scope token. `audiences`: the only ones it is granted for; absent, all."""

    scope: ScopeToken
    description: LongText | None = None
    audiences: Annotated[list[Audience], Field(max_length=100), AfterValidator(without_repeats)] | None = None
    risk: Literal["read", "write", "destructive"] = "read"
    max_access_token_ttl: Duration | None = Field(default=None, alias="maxAccessTokenTTL")
    requires: ScopeRequirements = ScopeRequirements()

    @field_validator("scope")
    @classmethod
    def _not_ours(cls, scope: str) -> str:
        if scope.startswith(RESERVED_SCOPE_PREFIX):
            raise PydanticCustomError(
                "forbidden", f"scopes beginning with {RESERVED_SCOPE_PREFIX} belong to the issuer"
            )
        if "*" in scope:
            raise PydanticCustomError("scope", "catalogue exact scopes; wildcards belong into policies")
        return scope
