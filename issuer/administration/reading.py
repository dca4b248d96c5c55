"""get and list: what the admin API shows of objects of every kind."""

from issuer.administration.authorize import Principal, authorize
from issuer.administration.secrets import SecretKeeper
from issuer.model.faults import expired, not_found
from issuer.model.filters import Filter
from issuer.model.kinds import NAMESPACE, SERVICE_ACCOUNT, Kind
from issuer.model.resource import GROUP, Resource
from issuer.store.changelog import RevisionGone, require_kept
from issuer.store.database import Connection, Database
from issuer.store.listing import Page, read_page
from issuer.store.resources import find

LIST_LIMIT = 500
MAX_LIST_LIMIT = 5000
MAX_WATCHES = 10_000
MAX_WATCHES_PER_PRINCIPAL = 2_000


class ResourceReader:
    """Objects of all kinds, as they are stored; one account also with what is computed from its side tables."""

    def __init__(self, database: Database, keeper: SecretKeeper) -> None:
        self._database = database
        self._keeper = keeper

    async def get(self, principal: Principal, kind: Kind, namespace: str, name: str) -> Resource:
        """The object as it is. Raises Fault."""
        authorize(principal, "get", GROUP, kind.plural, namespace, name)
        async with self._database.transaction() as connection:
            found = await find(connection, kind, namespace, name)
            if found is None:
                raise not_found(kind.kind, name)
            return await self._keeper.detailed(connection, found) if kind is SERVICE_ACCOUNT else found

    async def list(
        self,
        principal: Principal,
        wanted: Filter,
        *,
        limit: int = LIST_LIMIT,
        at: int | None = None,
        after: tuple[str, str] | None = None,
    ) -> Page:
        """One page of what is stored, by namespace and name, as of revision `at` (None: now). Raises Fault."""
        authorize(principal, "list", GROUP, wanted.kind.plural, wanted.namespace or "", "")
        try:
            async with self._database.transaction(isolation="REPEATABLE READ") as connection:
                if at is None:
                    await _require_namespace(connection, wanted)
                return await read_page(connection, wanted, limit=min(limit, MAX_LIST_LIMIT), at=at, after=after)
        except RevisionGone:
            raise expired() from None

    async def require_kept(self, revision: int) -> None:
        """Raises Fault (410) unless everything after the revision is known."""
        try:
            async with self._database.transaction() as connection:
                await require_kept(connection, revision)
        except RevisionGone:
            raise expired() from None

    async def require_namespace(self, wanted: Filter) -> None:
        """Raises Fault (404) when the namespace that is asked for does not exist."""
        async with self._database.transaction() as connection:
            await _require_namespace(connection, wanted)


async def _require_namespace(connection: Connection, wanted: Filter) -> None:
    if wanted.namespace is None or wanted.nothing:
        return
    if await find(connection, NAMESPACE, "", wanted.namespace) is None:
        raise not_found(NAMESPACE.kind, wanted.namespace)
