"""LIST in pages of one revision, and WATCH from a revision on (Kubernetes API concepts, "Efficient detection of changes")."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from issuer.administration.authorize import Principal, authorize
from issuer.administration.reading import LIST_LIMIT, MAX_LIST_LIMIT, ResourceReader
from issuer.model.faults import Cause, Fault, Reason, expired, invalid
from issuer.model.filters import Filter, parse_filter
from issuer.model.resource import GROUP
from issuer.sources import Sources
from issuer.store.changelog import RevisionGone
from issuer.store.database import DatabaseUnavailable
from issuer.store.listing import Page
from issuer.web.body import answer
from issuer.web.cursor import Cursor, Cursors
from issuer.web.guarded import GuardedRoutes, Target
from issuer.web.parameters import switch, whole_number
from issuer.workers.changefeed import ChangeFeed, TooManyWatches, Watch, event_line

BOOKMARK_S = 60.0
"""How often a watch says how far it is, to whom asked for it: after a break less has to be read again."""
_LONGEST_S = 3600
_STILL_ALLOWED_S = 1.0
"""How long a caller may be sent lines on the strength of the last look at its token and account."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What the query of a LIST or WATCH says."""

    wanted: Filter
    selectors: str
    revision: int | None
    exact: bool
    watch: bool
    bookmarks: bool
    lasts_s: int | None


class ListApi:
    """GET of a collection."""

    def __init__(
        self,
        routes: GuardedRoutes,
        reader: ResourceReader,
        feed: ChangeFeed,
        cursors: Cursors,
        sources: Sources,
    ) -> None:
        self._routes = routes
        self._reader = reader
        self._feed = feed
        self._cursors = cursors
        self._sources = sources

    async def list_or_watch(self, request: Request, principal: Principal, target: Target) -> Response:
        """One page, or with `watch=true` a stream that ends after `timeoutSeconds`. Raises Fault."""
        query = _query(request, target)
        if query.watch and request.method == "GET":
            authorize(principal, "watch", GROUP, target.kind.plural, target.namespace, "")
            return await self._watch(request, principal, query)
        return await self._list(request, principal, query)

    async def _list(self, request: Request, principal: Principal, query: _Query) -> Response:
        wanted = query.wanted
        continued = request.query_params.get("continue")
        cursor = None
        if continued:
            if query.revision:
                raise Fault(Reason.BAD_REQUEST, "resourceVersion cannot be asked for beside continue")
            cursor = self._cursors.read(continued, wanted.kind.plural, wanted.namespace, query.selectors)
        page = await self._reader.list(
            principal,
            wanted,
            limit=whole_number(request.query_params.get("limit"), "limit") or LIST_LIMIT,
            at=cursor.revision if cursor else query.revision if query.exact else None,
            after=cursor.after if cursor else None,
        )
        if not query.exact and query.revision is not None and query.revision > page.revision:
            raise expired()
        metadata = {"resourceVersion": str(page.revision)}
        if page.after is not None:
            place = Cursor(wanted.kind.plural, wanted.namespace, query.selectors, page.revision, page.after)
            metadata["continue"] = self._cursors.write(place)
        kind = wanted.kind
        return answer(
            request,
            {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": page.items},
        )

    async def _watch(self, request: Request, principal: Principal, query: _Query) -> Response:
        """Everything that can be refused is, before the stream begins."""
        await self._reader.require_namespace(query.wanted)
        first = None
        if query.revision:
            await self._reader.require_kept(query.revision)
        else:
            first = await self._reader.list(principal, query.wanted, limit=MAX_LIST_LIMIT)
        try:
            self._feed.require_room(principal.name)
        except TooManyWatches:
            raise _too_many() from None

        async def still_allowed() -> None:
            current = await self._routes.principal(request)
            authorize(current, "watch", GROUP, query.wanted.kind.plural, query.wanted.namespace or "", "")

        stream = _Stream(
            self._feed.watching(principal.name, query.wanted, first.revision if first else query.revision or 0),
            self._existing(principal, query.wanted, first),
            still_allowed,
            lasts_s=query.lasts_s or self._default_s(),
            bookmark_s=BOOKMARK_S if query.bookmarks else None,
        )
        return StreamingResponse(stream.lines(), media_type="application/json", headers={"cache-control": "no-store"})

    def _default_s(self) -> float:
        """Half an hour to an hour, so that watchers who came together do not come back together."""
        return _LONGEST_S * (1 + self._sources.random_bytes(1)[0] / 255) / 2

    async def _existing(self, principal: Principal, wanted: Filter, page: Page | None) -> AsyncIterator[bytes]:
        """What was there when the watch began, as ADDED: for a watch that names no revision to begin at."""
        while page is not None:
            yield b"".join(event_line("ADDED", item) for item in page.items)
            if page.after is None:
                return
            page = await self._reader.list(principal, wanted, limit=MAX_LIST_LIMIT, at=page.revision, after=page.after)


class _Stream:
    """The lines of one watch, until its time is over, its caller may not read any more, or its revision is gone."""

    def __init__(
        self,
        holding: AbstractContextManager[Watch],
        existing: AsyncIterator[bytes],
        still_allowed: Callable[[], Awaitable[None]],
        *,
        lasts_s: float,
        bookmark_s: float | None,
    ) -> None:
        self._holding = holding
        self._existing = existing
        self._still_allowed = still_allowed
        self._lasts_s = lasts_s
        self._bookmark_s = bookmark_s

    async def lines(self) -> AsyncIterator[bytes]:
        """JSON lines. Trouble that the watcher should know of is an ERROR, the last line."""
        try:
            with self._holding as watch:
                async for lines in self._existing:
                    yield lines
                async for lines in self._changes(watch):
                    yield lines
        except TooManyWatches:
            yield _error(_too_many())
        except RevisionGone:
            yield _error(expired())
        except Fault as fault:
            yield _error(fault)
        except DatabaseUnavailable:
            return  # the watcher comes back to where it was

    async def _changes(self, watch: Watch) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        over = clock() + self._lasts_s
        checked = marked = clock()
        while not watch.ended and (left_s := over - clock()) > 0:
            lines = await watch.read(min(left_s, self._bookmark_s or left_s))
            if clock() - checked >= _STILL_ALLOWED_S or not lines:
                await self._still_allowed()
                checked = clock()
            if lines:
                yield lines
            if self._bookmark_s is not None and clock() - marked >= self._bookmark_s:
                yield watch.bookmark()
                marked = clock()
        if self._bookmark_s is not None and not watch.ended:
            yield watch.bookmark()


def _error(fault: Fault) -> bytes:
    return event_line("ERROR", fault.to_status())


def _too_many() -> Fault:
    return Fault(
        Reason.TOO_MANY_REQUESTS,
        "too many watches are open: close some, or watch all namespaces with one instead of many",
    )


def _query(request: Request, target: Target) -> _Query:
    query = request.query_params
    namespace = target.namespace if target.kind.namespaced and target.namespace else None
    fields, labels = query.get("fieldSelector", ""), query.get("labelSelector", "")
    match = query.get("resourceVersionMatch")
    revision = whole_number(query.get("resourceVersion") or None, "resourceVersion", digits=18)
    if "sendInitialEvents" in query:
        cause = Cause(
            "sendInitialEvents", "FieldValueForbidden", "is not built: list, then watch from its resourceVersion"
        )
        raise invalid(f"{target.kind.kind}List", "", [cause])
    if match not in {None, "NotOlderThan", "Exact"} or (match and revision is None):
        raise Fault(
            Reason.BAD_REQUEST, "resourceVersionMatch must be NotOlderThan or Exact, and stand beside a resourceVersion"
        )
    if match == "Exact" and not revision:
        raise Fault(Reason.BAD_REQUEST, "resourceVersionMatch=Exact needs a resourceVersion that is not 0")
    wanted = parse_filter(target.kind, namespace, fields, labels)
    return _Query(
        wanted,
        f"{fields}\n{labels}",
        revision,
        exact=match == "Exact",
        # Read for a list, too, so that a mistake in them is one in either.
        watch=switch(query.get("watch"), "watch"),
        bookmarks=switch(query.get("allowWatchBookmarks"), "allowWatchBookmarks"),
        lasts_s=whole_number(query.get("timeoutSeconds"), "timeoutSeconds"),
    )
