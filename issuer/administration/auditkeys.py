"""The keys of the record: sealed, never in the JWKS, and kept for as long as what was made with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes, token_hex
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from issuer.signing.sealing import MasterKey, SealError
from issuer.signing.signer import generate_key
from issuer.store.auditkeys import (
    StoredAuditKey,
    find_audit_key,
    insert_audit_key,
    lock_audit_keys,
    newest_audit_key,
)
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.installation import read_master_key_check

AUDIT_KEY_PURPOSE = "audit-key"
CHAIN, CHECKPOINT = "chain", "checkpoint"
_ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True)
class OpenedKeys:
    """All keys of the record, by their ids. `unusable`: those that do not open, or whose halves do not belong together."""

    chains: Mapping[str, bytes] = field(repr=False)
    checkpoints: Mapping[str, ECKey]
    unusable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _New:
    """A key that was made and is not stored yet; the public half of one that has halves."""

    id: str
    private: bytes = field(repr=False)
    public_jwk: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """Made when they are first needed, by whoever needs them first."""

    database: Database
    master_key: MasterKey

    async def chain_key(self) -> tuple[str, bytes]:
        """The id and the key that new chains are made with. Raises DatabaseUnavailable."""
        return await self._newest(CHAIN, lambda: _New(token_hex(8), token_bytes(32)))

    async def checkpoint_key(self) -> tuple[str, ECKey]:
        """The id and the key that checkpoints are signed with. Raises DatabaseUnavailable."""
        kid, private_pem = await self._newest(CHECKPOINT, _new_pair)
        return kid, ECKey.import_key(private_pem)

    async def key_of_chain(self, key_id: str) -> bytes:
        """The key of a chain that was begun some time ago. Raises SealError, DatabaseUnavailable."""
        async with self.database.transaction() as connection:
            found = await find_audit_key(connection, key_id)
        if found is None:
            raise SealError("is gone")
        return self._unsealed(found)

    def opened(self, stored: Sequence[StoredAuditKey]) -> OpenedKeys:
        """Every key that was ever used."""
        chains: dict[str, bytes] = {}
        pairs: dict[str, ECKey] = {}
        unusable = []
        for each in stored:
            try:
                private = self._unsealed(each)
                if each.purpose == CHAIN:
                    chains[each.id] = private
                else:
                    pairs[each.id] = _pair(each, private)
            except (SealError, JoseError, ValueError):
                unusable.append(each.id)
        return OpenedKeys(chains, pairs, tuple(unusable))

    async def _newest(self, purpose: str, make: Callable[[], _New]) -> tuple[str, bytes]:
        async with self.database.transaction() as connection:
            await lock_audit_keys(connection)
            found = await newest_audit_key(connection, purpose)
            if found is None:
                check = await read_master_key_check(connection)
                if check is None:
                    raise DatabaseUnavailable("it is not bootstrapped yet")
                # A key of the record that only a wrong master key opens would never open again.
                self.master_key.check(check)
                new = make()
                sealed = self.master_key.seal(new.private, purpose=AUDIT_KEY_PURPOSE, owner=new.id)
                await insert_audit_key(connection, new.id, purpose, sealed, new.public_jwk)
                return new.id, new.private
        return found.id, self._unsealed(found)

    def _unsealed(self, stored: StoredAuditKey) -> bytes:
        return self.master_key.unseal(stored.sealed, purpose=AUDIT_KEY_PURPOSE, owner=stored.id)


def _new_pair() -> _New:
    made = generate_key(_ALGORITHM)
    return _New(made.kid, made.private_pem, made.public_jwk)


def _pair(stored: StoredAuditKey, private_pem: bytes) -> ECKey:
    """The pair. Raises ValueError when the public half, which others may have been given, is not that of the private one."""
    key = ECKey.import_key(private_pem)
    public = stored.public_jwk or {}
    if key.thumbprint() != stored.id or any(public.get(name) != key.as_dict(private=False)[name] for name in "xy"):
        raise ValueError("its halves are not of one key")
    return key
