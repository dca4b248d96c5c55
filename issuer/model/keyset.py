"""KeySet: a named ring of signing keys of one algorithm. Made by `issuer bootstrap`; read-only over the API for now."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from issuer.model.metadata import Written
from issuer.model.scopes import Audience, without_repeats

DEFAULT_KEYSET = "default"
ID_TOKEN_KEYSET = "rs256"  # noqa: S105 - a name


class KeyRotation(Written):
    """When the next key takes over."""

    enabled: bool = True
    interval_days: Annotated[int, Field(ge=1, le=3650)] = 30


class KeySetSpec(Written):
    """`audiences`: the resource servers whose tokens this set signs; every other audience gets `default`."""

    algorithm: Literal["ES256", "RS256", "Ed25519"]
    rotation: KeyRotation = KeyRotation()
    audiences: Annotated[list[Audience], Field(max_length=100), AfterValidator(without_repeats)] = []
