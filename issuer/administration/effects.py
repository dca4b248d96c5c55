"""What writing a policy would do, said before it is written: accounts narrowed, accounts refused, with examples."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from issuer.model.durations import format_duration
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue
from issuer.policy.ceilings import Ceiling, Policies
from issuer.policy.decide import Allowed, Decision, decide
from issuer.policy.governed import govern
from issuer.policy.reasons import said
from issuer.protocol.grants import TokenAsk
from issuer.store.database import Connection
from issuer.store.resources import list_of_kind

MAX_EXAMPLES = 10
MAX_ACCOUNTS = 20_000
MAX_SECONDS = 3.0
_PAGE = 500
_TURN = 20


@dataclass(slots=True)
class Effect:
    """`accounts` the policy reaches before or after; `complete` is False when there were too many to look at."""

    accounts: int = 0
    narrowed: int = 0
    refused: int = 0
    widened: int = 0
    complete: bool = True
    examples: list[Mapping[str, Any]] = field(default_factory=list)

    def to_json(self) -> Mapping[str, Any]:
        """As `status.effect` of a dry run."""
        return {
            "accounts": self.accounts,
            "narrowed": self.narrowed,
            "refused": self.refused,
            "widened": self.widened,
            "complete": self.complete,
            "examples": self.examples,
        }


async def effect_of(
    connection: Connection,
    before: Policies,
    after: Policies,
    changed: tuple[Ceiling, ...],
    catalogue: Catalogue,
    now: float,
    elapsed_s: Callable[[], float],
) -> Effect:
    """What tokens of the accounts in reach would become. `changed`: the policy as it was and as it would be."""
    effect, began = Effect(), elapsed_s()
    namespaces = {each.namespace for each in changed}
    only = namespaces.pop() if len(namespaces) == 1 else ""
    looked_at = 0
    async for account in _accounts(connection, only or None):
        looked_at += 1
        if looked_at > MAX_ACCOUNTS or elapsed_s() - began > MAX_SECONDS:
            effect.complete = False
            break
        if looked_at % _TURN == 0:
            await asyncio.sleep(0)  # tokens are issued on the same loop
        labels = before.namespace_labels.get(account.namespace, {})
        if any(each.reaches(account, labels) for each in changed):
            effect.accounts += 1
            _compare(effect, account, _answer(account, before, catalogue, now), _answer(account, after, catalogue, now))
    return effect


async def _accounts(connection: Connection, namespace: str | None) -> AsyncIterator[Resource]:
    after: tuple[str, str] | None = None
    while page := await list_of_kind(connection, SERVICE_ACCOUNT, namespace, after=after, limit=_PAGE):
        for account in page:
            yield account
        after = (page[-1].namespace, page[-1].name)


def _answer(account: Resource, policies: Policies, catalogue: Catalogue, now: float) -> Decision:
    """The most the account can get: all its scopes, its default audience, the first method that is left to it."""
    governed = govern(account, policies, catalogue)
    grant = governed.grant
    method = next(iter(governed.methods_left), grant.methods[0])
    return decide(governed, TokenAsk(grant.scopes, None), method, catalogue, now)


def _compare(effect: Effect, account: Resource, before: Decision, after: Decision) -> None:
    if said(before) == said(after):
        return
    if isinstance(before, Allowed) and not isinstance(after, Allowed):
        effect.refused += 1
    elif isinstance(after, Allowed) and (not isinstance(before, Allowed) or _wider(before, after)):
        effect.widened += 1
    else:
        effect.narrowed += 1
    if len(effect.examples) < MAX_EXAMPLES:
        effect.examples.append(
            {
                "namespace": account.namespace,
                "name": account.name,
                "before": summary(before),
                "after": summary(after),
            }
        )


def _wider(before: Allowed, after: Allowed) -> bool:
    return after.ttl_s > before.ttl_s or not set(after.scopes) <= set(before.scopes)


def summary(decision: Decision) -> Mapping[str, Any]:
    """A decision as people and tools read it."""
    if not isinstance(decision, Allowed):
        return {"refused": decision.failure.name.lower(), "error": decision.failure.code, "why": decision.why}
    rate = decision.governed.rate
    return {
        "scope": " ".join(decision.scopes),
        "audience": decision.audience,
        "accessTokenTTL": format_duration(decision.ttl_s),
        "claims": dict(decision.governed.claims),
        **({"maxTokensPerMinute": rate.value} if rate is not None else {}),
    }
