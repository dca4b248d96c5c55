"""What a row of the table of client authentication methods is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from issuer.credentials import SecretDigest
from issuer.protocol.request import TokenRequest


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential somebody sent. Nothing about it is known to be true."""

    method: str
    client_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a credential is verified against. For an unknown client everything of the account is empty, the cost is not."""

    secrets: tuple[SecretDigest, ...]
    peppers: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """The credential is the account's own: `credential` names it as tokens do (`secret/3`).

    `retired`: it was, and is not accepted any more. `pending`: it was never used or acknowledged before.
    """

    credential: str
    version: int
    retired: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Method:
    """One row. `name` is registered (RFC 7591 section 2).

    `is_presented` recognises the mechanism in a request; `read` decodes it or raises Refusal (`invalid_client`); `verify`
    compares it with the evidence at an instant (POSIX seconds), None when it proves nothing.
    """

    name: str
    is_presented: Callable[[TokenRequest], bool]
    read: Callable[[TokenRequest], Presented]
    verify: Callable[[Presented, Evidence, float], Proof | None]
