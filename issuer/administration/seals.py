"""The sealing of administrative records: a moment after they were written, in the order of their revisions, each once."""

from collections.abc import Sequence

from issuer.administration.auditkeys import AuditKeys
from issuer.record.administrative import ADMIN_CHAIN, AdministrativeRecord, administrative_bytes
from issuer.record.chain import first_link, link_after
from issuer.store.database import Database
from issuer.store.seals import AdminChain, Seal, begin_admin_chain, insert_seals, read_admin_chain, unsealed_records

BATCH = 500


class AdminSeals:
    """Continues the one chain of administrative records. Any number of replicas may: the chain is locked by whoever does."""

    def __init__(self, database: Database, keys: AuditKeys) -> None:
        self._database = database
        self._keys = keys
        self._key: tuple[str, bytes] | None = None

    async def seal(self) -> None:
        """Seals what was written by now, in batches, unless somebody else is at it. Raises DatabaseUnavailable."""
        while await self._seal_batch():
            pass

    async def _seal_batch(self) -> bool:
        """Whether there may be more to do."""
        key_id, key = self._key or await self._keys.chain_key()
        async with self._database.transaction() as connection:
            chain = await read_admin_chain(connection)
            if chain is not None:
                # A look that finds nothing to do, as nearly all do, writes nothing: not even a lock.
                if not await unsealed_records(connection, chain, 1):
                    return False
                chain = await read_admin_chain(connection, lock=True)
            if chain is None:
                return await begin_admin_chain(connection, first_link(key, ADMIN_CHAIN), key_id)
            if chain.key_id == key_id:
                seals = _seals_of(chain, key, await unsealed_records(connection, chain, BATCH))
                if seals:
                    await insert_seals(connection, seals)
                self._key = key_id, key
                return len(seals) >= BATCH
        # Begun under an older key: the chain stays with that one.
        self._key = chain.key_id, await self._keys.key_of_chain(chain.key_id)
        return True


def _seals_of(chain: AdminChain, key: bytes, records: Sequence[AdministrativeRecord]) -> list[Seal]:
    link, reached, seals = chain.head, chain.revision_reached, []
    for record in records:
        link = link_after(key, link, administrative_bytes(record))
        reached = record.revision or reached
        seals.append(Seal(link, record.id, reached))
    return seals
