"""KeySet: a named ring of signing keys of one algorithm, which take turns by themselves."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from issuer.model.metadata import Written
from issuer.model.scopes import Audience, without_repeats
from issuer.model.shapes import UNIQUE

DEFAULT_KEYSET = "default"
ID_TOKEN_KEYSET = "rs256"  # noqa: S105 - a name
ID_TOKEN_ALGORITHM = "RS256"  # noqa: S105 - a name
PERMANENT_KEYSETS = frozenset({DEFAULT_KEYSET, ID_TOKEN_KEYSET})
MAX_KEYSETS = 16


class KeyRotation(Written):
    """When the next key takes over."""

    enabled: bool = True
    """Whether keys are rotated on schedule. A spare is kept either way, and `issuer keys rotate` works."""
    interval_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long a key signs. Not shorter than a key must be published before it does."""


class KeySetSpec(Written):
    """A ring of signing keys of one algorithm, which take turns by themselves: made, published, signing, kept, forgotten.

    `issuer bootstrap` makes `default` and `rs256`, which cannot be deleted; at most 16 may exist. A new one signs once its
    first key is known to every verifier. One that is deleted stays until the last token it signed has expired.
    """

    algorithm: Literal["ES256", "RS256", "Ed25519"]
    """What its keys sign with. Another one takes over with the next key, once that is known to every verifier. `rs256` signs
    ID tokens and keeps RS256."""
    rotation: KeyRotation = KeyRotation()
    """When the next key takes over."""
    audiences: Annotated[list[Audience], Field(max_length=100), AfterValidator(without_repeats), UNIQUE] = []
    """The resource servers whose tokens it signs, once it has a key that signs. Every audience has one KeySet; those nobody
    names have `default`."""
