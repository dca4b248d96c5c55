"""How often, not which: what accounts were used for day by day, and how often strangers were refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from issuer.administration.authorize import Principal, authorize
from issuer.administration.queries import Pairs, Stretch, parse_query
from issuer.model.faults import not_found
from issuer.model.kinds import SERVICE_ACCOUNT, Kind
from issuer.model.resource import GROUP
from issuer.model.times import format_time
from issuer.store.database import Database
from issuer.store.refusals import refusals_between
from issuer.store.resources import find
from issuer.store.usage import Used, usage_of, used_on

REFUSAL_COUNT = Kind("RefusalCount", "refusalcounts", None, writable=False)
"""How they are addressed. No row of the table of kinds: they are numbers."""
DAYS = 30
MAX_DAYS = 36_500
REFUSAL_LIMIT = 1_000


class UsageQuery(BaseModel):
    """What the query of `/usage` may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = DAYS


class RefusalQuery(Stretch):
    """What the query of the counts may say."""

    limit: Annotated[int, Field(ge=1, le=REFUSAL_LIMIT)] = REFUSAL_LIMIT


class UsageReader:
    """Numbers that were folded from what happened."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def of_account(self, principal: Principal, namespace: str, name: str, query: Pairs) -> dict[str, Any]:
        """How an account was used in the last days. Raises Fault."""
        authorize(principal, "get", GROUP, SERVICE_ACCOUNT.plural, namespace, name, "usage")
        days = parse_query(UsageQuery, SERVICE_ACCOUNT, query).days
        since = (self._now().astimezone(UTC) - timedelta(days=days - 1)).date()
        async with self._database.transaction() as connection:
            account = await find(connection, SERVICE_ACCOUNT, namespace, name)
            if account is None:
                raise not_found(SERVICE_ACCOUNT.kind, name)
            used = await usage_of(connection, account.uid, since)
            by_day = await used_on(connection, account.uid, since)
        whole = next((_numbers(each) for each in used if each.what == "account"), {"issued": 0, "refused": 0})
        return {
            "since": since.isoformat(),
            **whole,
            "days": [{"day": day.isoformat(), "issued": issued, "refused": refused} for day, issued, refused in by_day],
            "credentials": [
                _named("credential", each.key) | _numbers(each) for each in used if each.what == "credential"
            ],
            "scopes": [
                _named("scope", each.key) | _named("audience", each.audience) | _numbers(each)
                for each in used
                if each.what == "scope"
            ],
            "sources": [_named("source", each.key) | _numbers(each) for each in used if each.what == "source"],
        }

    async def refusals(self, principal: Principal, query: Pairs) -> list[dict[str, Any]]:
        """How often strangers were refused, the newest minute first. Raises Fault."""
        authorize(principal, "list", GROUP, REFUSAL_COUNT.plural, "", "")
        parsed, now = parse_query(RefusalQuery, REFUSAL_COUNT, query), self._now()
        # A replica's clock may be ahead of this one's: what it counts now is not of tomorrow.
        end = parsed.until or now + timedelta(days=1)
        async with self._database.transaction() as connection:
            counts = await refusals_between(connection, parsed.begin(now), end, parsed.limit)
        return [
            {
                "minute": format_time(each.minute),
                "reason": each.reason,
                "clientId": each.client_id,
                "source": each.source,
                "count": each.count,
            }
            for each in counts
        ]


def _named(what: str, key: str) -> dict[str, Any]:
    """Nothing for what has no numbers of its own."""
    return {what: key} if key else {}


def _numbers(used: Used) -> dict[str, Any]:
    return {
        "issued": used.issued,
        "refused": used.refused,
        "firstUsed": format_time(used.first_at),
        "lastUsed": format_time(used.last_at),
    }
