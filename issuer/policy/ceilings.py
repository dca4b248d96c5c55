"""AuthPolicies and ClusterAuthPolicies: what humans wrote, compiled once into what decisions use."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from issuer.model.authpolicy import read_field
from issuer.model.claims import AUTHORIZATION_CLAIMS, is_reserved_claim
from issuer.model.durations import parse_duration_s
from issuer.model.patterns import Patterns, compile_patterns
from issuer.model.resource import Resource
from issuer.model.scopes import SYSTEM_NAMESPACE
from issuer.model.selectors import Selector, compile_selector

_NOTHING = compile_patterns(())


@dataclass(frozen=True, slots=True)
class ListCeiling:
    """`allowed` and `denied` together; deny wins."""

    allowed: Patterns | None = None
    denied: Patterns = _NOTHING

    def withholds(self, text: str) -> str | None:
        """The field that withholds it (`denied`, `allowed`), None when neither does."""
        if self.denied.match(text):
            return "denied"
        return "allowed" if self.allowed is not None and not self.allowed.match(text) else None


@dataclass(frozen=True, slots=True)
class Mapped:
    """One claim mapping: reads the claim's value off the account, None when there is none."""

    claim: str
    read: Callable[[Resource], str | None]
    required: bool


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One policy, compiled. `namespace` is empty for a ClusterAuthPolicy; absent restrictions are None or empty.

    `revision`: of the policy as it was written; 0 while it is only thought of (a dry run).
    """

    kind: str
    namespace: str
    name: str
    revision: int
    selector: Selector
    namespace_selector: Selector
    applies_to_system: bool
    scopes: ListCeiling
    audiences: frozenset[str] | None
    claims: ListCeiling
    default_ttl_s: int | None
    max_ttl_s: int | None
    max_tokens_per_minute: int | None
    mappings: tuple[Mapped, ...]
    methods: frozenset[str] | None
    rotation_required: bool
    max_interval_days: int | None
    max_grace_period_hours: int | None
    max_hold_hours: int | None
    sender_constraint: str
    require_registered_scopes: bool

    @property
    def ref(self) -> str:
        """How reasons name it: `ClusterAuthPolicy/ceiling`, `AuthPolicy/payments/ceiling`."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    def reaches(self, account: Resource, namespace_labels: Mapping[str, str]) -> bool:
        """Whether the policy governs the account; those of `issuer-system` only when it says so, which no AuthPolicy can."""
        return (
            self.namespace in {"", account.namespace}
            and (account.namespace != SYSTEM_NAMESPACE or self.applies_to_system)
            and self.namespace_selector.matches(namespace_labels)
            and self.selector.matches(account.labels)
        )


def compile_policy(policy: Resource) -> Ceiling:
    """The ceiling of a policy's checked spec."""
    spec = policy.spec
    tokens, rotation = spec.get("tokenSettings") or {}, spec.get("credentialRotation") or {}
    audiences = (spec.get("audiences") or {}).get("allowed")
    methods = (spec.get("clientAuthentication") or {}).get("allowedMethods")
    return Ceiling(
        kind=policy.kind,
        namespace=policy.namespace,
        name=policy.name,
        revision=policy.revision,
        selector=compile_selector(spec.get("selector")),
        namespace_selector=compile_selector(spec.get("namespaceSelector")),
        applies_to_system=bool(spec.get("appliesToSystem")),
        scopes=_list_ceiling(spec.get("scopes")),
        audiences=frozenset(audiences) if audiences is not None else None,
        claims=_list_ceiling(spec.get("claims")),
        default_ttl_s=_seconds(tokens.get("defaultAccessTokenTTL")),
        max_ttl_s=_seconds(tokens.get("maxAccessTokenTTL")),
        max_tokens_per_minute=tokens.get("maxTokensPerMinute"),
        mappings=tuple(_mapped(each) for each in spec["claimMappings"] if _may_map(policy, each["claim"])),
        methods=frozenset(methods) if methods is not None else None,
        rotation_required=bool(rotation.get("required")),
        max_interval_days=rotation.get("maxIntervalDays"),
        max_grace_period_hours=rotation.get("maxGracePeriodHours"),
        max_hold_hours=rotation.get("maxHoldHours"),
        sender_constraint=spec["senderConstraint"],
        require_registered_scopes=spec["requireRegisteredScopes"],
    )


@dataclass(frozen=True, slots=True)
class Policies:
    """Every policy, found by namespace. Each group is in the order of its names."""

    cluster: tuple[Ceiling, ...] = ()
    by_namespace: Mapping[str, tuple[Ceiling, ...]] = field(default_factory=lambda: MappingProxyType({}))
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    def reaching(self, account: Resource) -> tuple[Ceiling, ...]:
        """The policies that govern the account: cluster-wide ones first, each group by name."""
        labels = self.namespace_labels.get(account.namespace, {})
        candidates = (*self.cluster, *self.by_namespace.get(account.namespace, ()))
        return tuple(each for each in candidates if each.reaches(account, labels))

    def all(self) -> tuple[Ceiling, ...]:
        """Every policy."""
        return (*self.cluster, *(each for group in self.by_namespace.values() for each in group))

    def changed(self, without: Iterable[str] = (), plus: Iterable[Ceiling] = ()) -> "Policies":
        """These policies without some (by `ref`), and with others added or put in place of their namesakes."""
        added = tuple(plus)
        gone = {*without, *(each.ref for each in added)}
        kept = [each for each in self.all() if each.ref not in gone]
        return index_policies([*kept, *added], self.namespace_labels)


def index_policies(ceilings: Iterable[Ceiling], namespace_labels: Mapping[str, Mapping[str, str]]) -> Policies:
    """The policies, ready to be asked for an account."""
    cluster, by_namespace = [], dict[str, list[Ceiling]]()
    for ceiling in sorted(ceilings, key=lambda each: each.name):
        if ceiling.namespace:
            by_namespace.setdefault(ceiling.namespace, []).append(ceiling)
        else:
            cluster.append(ceiling)
    return Policies(
        tuple(cluster),
        MappingProxyType({namespace: tuple(group) for namespace, group in by_namespace.items()}),
        namespace_labels,
    )


def _list_ceiling(spec: Mapping[str, Any] | None) -> ListCeiling:
    if spec is None:
        return ListCeiling()
    allowed = spec.get("allowed")
    return ListCeiling(compile_patterns(allowed) if allowed is not None else None, compile_patterns(spec["denied"]))


def _may_map(policy: Resource, claim: str) -> bool:
    """Checked when written; again here, since a name may have become reserved after it was stored."""
    return not is_reserved_claim(claim) and (claim not in AUTHORIZATION_CLAIMS or not policy.namespace)


def _mapped(spec: Mapping[str, Any]) -> Mapped:
    field_path, value = spec.get("fieldPath"), spec.get("value")
    read: Callable[[Resource], str | None] = (
        partial(read_field, field_path=field_path) if field_path else lambda _: value
    )
    return Mapped(spec["claim"], read, spec["required"])


def _seconds(duration: str | None) -> int | None:
    return parse_duration_s(duration) if duration is not None else None
