"""Scope: a catalogue entry that says what a scope token is for and how far it may reach."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from issuer.model.durations import Duration
from issuer.model.metadata import Written
from issuer.model.scopes import EXACT_SCOPE, RESERVED_SCOPE_PREFIX, Audience, LongText, ScopeToken, without_repeats
from issuer.model.shapes import UNIQUE


class ScopeRequirements(Written):
    """What a request must bring for the scope to be granted. Not met yet by any request: such a scope is withheld."""

    sender_constraint: Literal["none", "any", "dpop", "mtls"] = "none"
    """What the token must be bound to."""
    approval: bool = False
    """Whether somebody must have approved."""


class ScopeSpec(Written):
    """A catalogue entry: what a scope is for and how far it may reach. Scopes without one are granted too."""

    scope: Annotated[ScopeToken, EXACT_SCOPE]
    """The scope token. Unique and fixed; `metadata.name` is any name for the entry. None that begins with `issuer:`."""
    description: LongText | None = None
    """What it allows, for people."""
    audiences: Annotated[list[Audience], Field(max_length=100), AfterValidator(without_repeats), UNIQUE] | None = None
    """The only audiences it is granted for; every one when left out, none when empty."""
    risk: Literal["read", "write", "destructive"] = "read"
    """A `destructive` one is granted only to who asks for it by name."""
    max_access_token_ttl: Duration | None = Field(default=None, alias="maxAccessTokenTTL")
    """No token with this scope lives longer, from 10s to 24h."""
    requires: ScopeRequirements = ScopeRequirements()
    """What a request must bring."""

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
