"""Judgements on what stands in the database, signing keys apart."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from issuer.administration.bootstrap import may_administer
from issuer.checks.cases import Stored
from issuer.checks.findings import Finding, error, ok, warning
from issuer.credentials import UNDELIVERED_DAYS, Versions, live_versions, settle
from issuer.model.authpolicy import cluster_policy_warnings, policy_warnings
from issuer.model.kinds import CLUSTER_AUTH_POLICY
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.policy.catalogue import Catalogue, Limits
from issuer.policy.ceilings import compile_policy, index_policies
from issuer.policy.governed import govern
from issuer.protocol.authentication import METHOD_NAMES
from issuer.signing.sealing import MasterKeyError
from issuer.snapshot import Governance
from issuer.store.facts import MAX_COUNTED

_EXAMPLES = 5
_DAYS_LATE = 2
"""Days leave whole, and somebody has to get round to it."""
_CEILINGS = frozenset({"scopes", "audiences", "claims", "clientAuthentication"})


def judge_bootstrap(case: Stored) -> Finding:
    """There are keys, and somebody who can administer."""
    if case.stored.master_key_check is None:
        return error(
            "There are no keys and no administrator yet: `serve` is not ready.",
            "run `issuer bootstrap`, once, and keep the credential it shows",
        )
    if not any(_administers(case, account, versions) for account, versions in case.stored.administrators):
        return warning(
            f"There are keys, and no account can have a token for administration now: those with {ADMIN_SCOPE} are deleted, "
            "disabled, expired, kept from it by a policy, or have a secret that nobody has.",
            "run `issuer bootstrap --recover` beside the database, and keep the credential it shows",
        )
    return ok("There are keys, and an administrator.")


def _administers(case: Stored, account: Resource, versions: Versions) -> bool:
    """Whether somebody may have a secret with which the account gets a token for administration."""
    tokens, url = case.settings.tokens, case.settings.url or ""
    catalogue = Catalogue(Limits(case.settings.default_audience or url, tokens.default_ttl_s, tokens.max_ttl_s))
    policies = index_policies(map(compile_policy, case.stored.policies), {SYSTEM_NAMESPACE: case.stored.system_labels})
    governance = Governance(catalogue, policies, case.settings.schedule.hour_s)
    governed = govern(account, policies, catalogue)
    settled = settle(versions, governance.terms(governed.rotation), case.now)
    return (
        not account.spec["disabled"]
        and any(each.handed_out_at is not None for each in live_versions(settled, case.now))
        and any(
            may_administer(governed, method, catalogue, case.now.timestamp())
            for method in METHOD_NAMES.intersection(governed.grant.methods)
        )
    )


def judge_sealed(case: Stored) -> Finding:
    """The master key is the one this database belongs to, and opens everything in it."""
    key, check = case.master_key, case.stored.master_key_check
    if check is None:
        return ok("Nothing is sealed yet.")
    if key is None:
        return error("Without a usable master key nothing sealed in this database opens.", "see `master key`")
    try:
        key.check(check)
    except MasterKeyError:
        return error(
            "The master key is not the one this database belongs to: `serve` will not start.",
            "give the key that `issuer bootstrap` or the last `issuer rekey` had first; without it nothing sealed can be read",
        )
    lost = {name: count for name, count in case.stored.sealed.items() if name not in key.keys}
    if lost:
        return error(
            "Some of what is sealed needs a master key that is not among those given:",
            "add its line to the master key file, run `issuer rekey`, and only then take the line away",
            (f"{count} under {name!r}" for name, count in lost.items()),
        )
    older = {name: count for name, count in case.stored.sealed.items() if name != key.current}
    if older:
        return warning(
            f"Not everything is sealed under the current master key {key.current!r}:",
            "run `issuer rekey` once every server has the new key",
            (f"{count} under {name!r}" for name, count in older.items()),
        )
    return ok(f"Everything is sealed under {key.current!r}.")


def judge_deliveries(case: Stored) -> Finding:
    """No secret waits for a driver that is gone."""
    waiting = case.stored.undelivered
    if not waiting:
        return ok(f"No account waits longer than {UNDELIVERED_DAYS} days for its secret.")
    many = f"{len(waiting)}{' or more' if len(waiting) >= MAX_COUNTED else ''}"
    more = (f"… and {len(waiting) - _EXAMPLES} more",) if len(waiting) > _EXAMPLES else ()
    return warning(
        f"Newest secrets that nobody has stored for more than {UNDELIVERED_DAYS} days: {many}. Until somebody does, the ones "
        "before them stay in force.",
        "`issuer rotate NAMESPACE/NAME --resume` delivers it; maxHoldHours in a policy ends the wait by itself",
        (*islice(waiting, _EXAMPLES), *more),
    )


def judge_retention(case: Stored) -> Finding:
    """What was decided leaves the database when its time is over."""
    audit, oldest = case.settings.audit, case.stored.oldest_decisions
    kept = (case.now.date() - oldest).days if oldest is not None else 0
    if kept <= audit.keep_decisions_days + _DAYS_LATE:
        where = "into audit.export_dir" if audit.export_dir is not None else "once there is an audit.export_dir"
        return ok(f"Decisions leave the database after {audit.keep_decisions_days} days, {where}.")
    said = f"Decisions are in the database for {kept} days, though audit.keep_decisions_days is {audit.keep_decisions_days}"
    if audit.export_dir is None:
        return warning(
            f"{said}: there is no audit.export_dir, and nothing is dropped that is in no file.",
            "set audit.export_dir to a directory that is backed up",
        )
    return warning(f"{said}.", "the log of the servers says why each day stays (DayKept, WorkFailed)")


def judge_policies(case: Stored) -> Finding:
    """What each policy's writer was warned of is not forgotten."""
    said = [
        f"{policy.kind}/{policy.name}{f' in {policy.namespace}' if policy.namespace else ''}: {each}"
        for policy in case.stored.policies
        for each in _standing_warnings(policy)
    ]
    if not said:
        return ok("No policy has a warning.")
    more = (f"… and {len(said) - _EXAMPLES} more",) if len(said) > _EXAMPLES else ()
    return warning(
        "Policies that may not do what they seem to:",
        "`issuer edit KIND NAME` changes one",
        (*said[:_EXAMPLES], *more),
    )


def _standing_warnings(policy: Resource) -> list[str]:
    """Labels of accounts are the wrong thing to hang a ceiling on, and the right one for defaults and mappings."""
    spec = policy.spec
    return (
        cluster_policy_warnings(spec)
        if policy.kind == CLUSTER_AUTH_POLICY.kind and _limits(spec)
        else policy_warnings(spec)
    )


def _limits(spec: Mapping[str, Any]) -> bool:
    maxima = (name for group in ("tokenSettings", "credentialRotation") for name in spec.get(group, ()))
    return (
        not _CEILINGS.isdisjoint(spec)
        or spec["requireRegisteredScopes"]
        or spec.get("credentialRotation", {}).get("required", False)
        or any(name.startswith("max") for name in maxima)
    )
