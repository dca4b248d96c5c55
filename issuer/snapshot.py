"""What the token path knows of the world, as one immutable value, swapped whole.

    what                         kept in            replaced when                          stale until
    keys, peppers, catalogue     Snapshot           a write of such a kind is seen         the next poll (250 ms)
    one account                  directory's LRU    a write of that account is seen        the next poll (250 ms)

`workers.reload` builds it from one repeatable read and swaps it only for a newer one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from issuer.credentials import SecretDigest
from issuer.policy import Catalogue, Grant
from issuer.signing.signer import Signer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world as of `revision`.

    `signers`: by KeySet name, the active key of each. `keyset_by_audience`: audiences with a KeySet of their own.
    `published`: public JWKs by kid, as the JWKS shows them. `terminating`: namespaces being deleted.
    """

    revision: int
    catalogue: Catalogue
    signers: Mapping[str, Signer]
    keyset_by_audience: Mapping[str, str]
    published: Mapping[str, Mapping[str, Any]]
    terminating: frozenset[str]
    peppers: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the token path knows it: what decides about it, compiled, and what it may prove itself with."""

    grant: Grant
    methods: frozenset[str]
    disabled: bool
    terminating: bool
    secrets: tuple[SecretDigest, ...]
