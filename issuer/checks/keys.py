"""Judgements on signing keys: enough of them, replaced in time, published long enough around their use (DESIGN section 7)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from issuer.administration.keysets import Ring, ring_of, span, timing_of, too_often
from issuer.checks.cases import Stored
from issuer.checks.findings import Finding, error, ok, warning
from issuer.signing.keyring import KeyRecord, KeyState, published_keys
from issuer.signing.lifecycle import MOST_PUBLISHED, may_sign_from, takes_over_at

_LATE = timedelta(minutes=1)
"""A running server takes a step within a second of its time."""
_LONG_CACHED_S = 3600
_SERVE = "a running `serve` sees to it by itself; its log says what keeps it from that"


def judge_keys(case: Stored) -> Finding:
    """Every KeySet has a key that signs and a published one that waits."""
    rings = _rings(case)
    if not rings and case.stored.master_key_check is None:
        return ok("None yet; `issuer bootstrap` makes them.")
    mute = [f"{ring.keyset.name}: no key signs" for ring in rings if ring.signing is None and not _is_new(ring)]
    others = [
        *(f"{ring.keyset.name}: no published key waits to take over" for ring in rings if not _has_spare(ring)),
        *(
            f"{ring.keyset.name}: {count} keys are published"
            for ring in rings
            if (count := len(published_keys(ring.keys, case.now))) > MOST_PUBLISHED
        ),
    ]
    if mute:
        return error("KeySets that cannot sign:", _SERVE, (*mute, *others))
    if others:
        return warning(f"KeySets without a spare, or with more than {MOST_PUBLISHED} keys:", _SERVE, others)
    return ok(f"Every KeySet has a key that signs and a spare ({', '.join(ring.keyset.name for ring in rings)}).")


def judge_rotation(case: Stored) -> Finding:
    """No key signs longer than its KeySet says."""
    late = [
        f"{ring.keyset.name}: {age.total_seconds() / case.settings.schedule.day_s:.0f} days old, its KeySet says "
        f"{ring.keyset.spec['rotation']['intervalDays']}"
        for ring in _rings(case)
        if (due := takes_over_at(ring.keys, case.now, ring.schedule)) is not None
        and due + _LATE < case.now
        and (age := _age(ring)) is not None
    ]
    if late:
        return warning("Signing keys whose time was over a while ago:", f"is one running? {_SERVE}", late)
    return ok("No signing key is older than its KeySet says.")


def judge_timing(case: Stored) -> Finding:
    """Keys are published before verifiers need them, and stay until the last token they signed has expired."""
    timing = timing_of(case.settings)
    advice = "raise intervalDays of the KeySet, or lower keys.jwks_max_age_s, keys.verifier_refresh_s or outage.max_s"
    hasty = [
        f"{ring.keyset.name}: {why}" for ring in _rings(case) if (why := too_often(ring.keyset, timing)) is not None
    ]
    if hasty:
        return error("KeySets whose next key cannot be published in time:", advice, hasty)
    gone = [
        f"{ring.keyset.name}: {key.kid} stays {span(kept.total_seconds())} after its last token, and should "
        f"{span(needed.total_seconds())}"
        for ring in _rings(case)
        for key, kept in _leaving(ring)
        if kept < (needed := replace(timing, max_ttl_s=0).retention(key.signed_ttl_s))
    ]
    if gone:
        return warning(
            "Keys that leave before the last token they signed has expired everywhere, since they began to leave under other "
            "settings:",
            "put keys.jwks_max_age_s, keys.skew_s and outage.max_s back until they are gone",
            gone,
        )
    if timing.jwks_max_age_s > _LONG_CACHED_S:
        return warning(
            f"Verifiers may keep the JWKS for {span(timing.jwks_max_age_s)}: so long they trust a compromised key.",
            "lower keys.jwks_max_age_s",
        )
    kept_s = timing.retention(0).total_seconds()
    return ok(
        f"A key is published {span(timing.lead.total_seconds())} before its first use and kept {span(kept_s)} after its last."
    )


def _rings(case: Stored) -> list[Ring]:
    timing = timing_of(case.settings)
    return [ring_of(keyset, case.stored.keys, case.now, timing) for keyset in case.stored.keysets]


def _is_new(ring: Ring) -> bool:
    """It has not signed yet, and its first key is being made known; or it is on its way out."""
    spare = ring.spare
    known = may_sign_from(spare, ring.schedule.timing) if spare is not None else None
    published_in_vain = known is not None and known + _LATE < ring.now
    return ring.schedule.ending or (all(key.activated_at is None for key in ring.keys) and not published_in_vain)


def _has_spare(ring: Ring) -> bool:
    return ring.schedule.ending or (ring.spare is not None and ring.spare.published_at is not None)


def _age(ring: Ring) -> timedelta | None:
    key = ring.signing
    return ring.now - (key.activated_at or key.created_at) if key is not None else None


def _leaving(ring: Ring) -> Iterator[tuple[KeyRecord, timedelta]]:
    """Keys on their way out, each with how long it stays after its successor took over."""
    for key in ring.keys:
        if key.state_at(ring.now) is not KeyState.RETIRING or key.retires_at is None or key.activated_at is None:
            continue
        later = [
            other.activated_at for other in ring.keys if other.activated_at and other.activated_at > key.activated_at
        ]
        if later:
            yield key, key.retires_at - min(later)
