"""What the token path knows of the world, as one immutable value, swapped whole.

    what                         kept in            replaced when                          stale until
    keys, peppers, policies      Snapshot           a write of such a kind is seen         the next poll (250 ms)
    one account                  directory's LRU    a write of that account is seen        the next poll (250 ms)

`workers.reload` builds it from one repeatable read, one at a time.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from issuer.credentials import SecretDigest, SecretVersion, Terms, compile_digests
from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue
from issuer.policy.ceilings import Policies
from issuer.policy.decide import Allowed
from issuer.policy.governed import Governed, govern
from issuer.policy.grant import Rotation
from issuer.protocol.grants import TokenAsk
from issuer.signing.signer import Signer

StoredSecret: TypeAlias = tuple[SecretVersion, str, bytes]
"""A secret version, the id of its pepper, and its HMAC."""


@dataclass(frozen=True, slots=True)
class Governance:
    """Everything accounts are compiled under; another one is another object. `hour_s`: how long a resource's hour lasts."""

    catalogue: Catalogue
    policies: Policies = field(default_factory=Policies)
    hour_s: float = 3600

    def terms(self, rotation: Rotation) -> Terms:
        """Effective rotation settings in seconds."""

        def seconds(hours: int | None) -> float | None:
            return hours * self.hour_s if hours is not None else None

        return Terms(
            grace_s=rotation.grace_period_hours * self.hour_s,
            max_hold_s=seconds(rotation.max_hold_hours),
            max_grace_s=seconds(rotation.max_grace_period_hours),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world as of `revision`.

    `signers`: by KeySet name, the active key of each. `keyset_by_audience`: audiences with a KeySet of their own.
    `published`: public JWKs by kid, as the JWKS shows them. `terminating`: namespaces being deleted.
    """

    revision: int
    governance: Governance
    signers: Mapping[str, Signer]
    keyset_by_audience: Mapping[str, str]
    published: Mapping[str, Mapping[str, Any]]
    terminating: frozenset[str]
    peppers: Mapping[str, bytes] = field(repr=False)


class Account:
    """One account as the token path knows it: as stored, and compiled under the governance of the moment.

    A policy change does not touch it: it is compiled again at its next use, without a query. `answered` is what it asked for
    last, and what it got, under the policies it is compiled with: most accounts ask for the same again and again.
    """

    __slots__ = ("_governance", "_known", "answered", "resource", "stored_secrets")

    def __init__(self, resource: Resource, stored_secrets: tuple[StoredSecret, ...]) -> None:
        self.resource = resource
        self.stored_secrets = stored_secrets
        self._governance: Governance | None = None
        self._known: Known | None = None
        self.answered: Answered | None = None

    def under(self, governance: "Governance") -> "Known":
        """The account compiled under this governance."""
        if self._known is None or self._governance is not governance:
            governed = govern(self.resource, governance.policies, governance.catalogue)
            self._known = Known(
                governed=governed,
                disabled=self.resource.spec["disabled"],
                terminating=self.resource.deleted_at is not None,
                secrets=compile_digests(self.stored_secrets, governance.terms(governed.rotation)),
            )
            self._governance = governance
            self.answered = None
        return self._known


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of an account, as it was sent, what it meant, and what it got, which no clock changes.

    Never one that was refused: what somebody asks for and does not hold may be anything, and is not kept.
    """

    question: tuple[Hashable, ...]
    ask: TokenAsk
    allowed: Allowed


@dataclass(frozen=True, slots=True)
class Known:
    """What decides about an account, and what it may prove itself with."""

    governed: Governed
    disabled: bool
    terminating: bool
    secrets: tuple[SecretDigest, ...]
