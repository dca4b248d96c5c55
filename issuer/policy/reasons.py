"""Why a decision is what it is: every policy that has a say, and which of them bind (DESIGN section 2, "decision").

`binding`: it shapes the merged answer, alone or in a tie with others that say the same: without them the answer is another.
Not binding: it alone would change the ungoverned answer, but something stricter does so already. Removing every policy named
here gives the ungoverned answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue
from issuer.policy.ceilings import Ceiling, Policies, index_policies
from issuer.policy.decide import Allowed, Decision, decide
from issuer.policy.governed import Because, Governed, govern
from issuer.protocol.grants import TokenAsk


@dataclass(frozen=True, slots=True)
class Reason:
    """One policy's say in one part of the answer (`scope api:x`, `audience`, `ttl`, `claim team`, …)."""

    part: str
    policy: str
    field: str
    binding: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision with its reasons, and the answer without any policy."""

    decision: Decision
    ungoverned: Decision
    reasons: tuple[Reason, ...]


def explain(
    account: Resource, ask: TokenAsk, method: str, policies: Policies, catalogue: Catalogue, now: float
) -> Explained:
    """The decision on a request of the account, and why. Pure, and much dearer than `decide`: it tries every policy."""

    def answer(under: Iterable[Ceiling]) -> tuple[Governed, Decision]:
        governed = govern(account, index_policies(under, policies.namespace_labels), catalogue)
        return governed, decide(governed, ask, method, catalogue, now)

    def binds(part: str) -> bool:
        """Whether the answer is another without the policies behind the part: not when something else says the same."""
        behind = {each.policy for each in shaping if each.part == part}
        _, without = answer(each for each in governed.reaching if each.ref not in behind)
        return said(without) != said(decision)

    governed, decision = answer(policies.all())
    _, ungoverned = answer(())
    shaping = tuple(binding_reasons(governed, decision))
    reasons = [each for each in shaping if binds(each.part)]
    named = {reason.policy for reason in reasons}
    for ceiling in governed.reaching:
        if ceiling.ref in named:
            continue
        alone_governed, alone = answer([ceiling])
        if said(alone) != said(ungoverned):
            reasons += [replace(each, binding=False) for each in binding_reasons(alone_governed, alone)]
    return Explained(decision, ungoverned, tuple(reasons))


def said(decision: Decision) -> tuple[object, ...]:
    """What of a decision reaches the client: the token's content, or the refusal."""
    if isinstance(decision, Allowed):
        claims = tuple(sorted(decision.governed.claims.items()))
        rate = decision.governed.rate
        return decision.scopes, decision.audience, decision.ttl_s, claims, rate.value if rate else None
    return (decision.failure,)


def binding_reasons(governed: Governed, decision: Decision) -> Iterable[Reason]:
    """The policies that shape this answer, part by part."""

    def because(part: str, by: Iterable[Because]) -> list[Reason]:
        return [Reason(part, each.policy, each.field, binding=True) for each in by]

    if not isinstance(decision, Allowed):
        return because(f"refused: {decision.failure.name.lower()}", decision.by)
    found = []
    for each in decision.withheld:
        found += because(f"scope {each.scope}", each.by)
    found += because("ttl", decision.ttl_by)
    for claim, by in governed.withheld_claims.items():
        if governed.claims.get(claim) != governed.grant.claims[claim]:
            found += because(f"claim {claim}", by)
    for claim, by in governed.mapped_claims.items():
        found += because(f"claim {claim}", by)
    if governed.rate is not None:
        found += because("rate", governed.rate.by)
    return found
