"""What a KeySet says of itself and what it may want: values, from its spec, its keys and the numbers of the deployment."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from issuer.model.conditions import merge_conditions
from issuer.model.durations import format_duration
from issuer.model.faults import Cause
from issuer.model.keyset import ID_TOKEN_ALGORITHM, ID_TOKEN_KEYSET
from issuer.model.resource import Resource
from issuer.model.times import format_time
from issuer.settings import Settings
from issuer.signing.keyring import KeyRecord, KeyState
from issuer.signing.lifecycle import (
    Activate,
    KeySchedule,
    KeyTiming,
    Prune,
    Retire,
    coming,
    may_sign_from,
    spare_of,
    takes_over_at,
)


def timing_of(settings: Settings) -> KeyTiming:
    """The numbers of this deployment. T is what nobody's tokens may exceed, so no policy can stretch a key's retention."""
    return KeyTiming(
        jwks_max_age_s=settings.keys.jwks_max_age_s,
        verifier_refresh_s=settings.keys.verifier_refresh_s,
        skew_s=settings.keys.skew_s,
        max_ttl_s=settings.tokens.max_ttl_s,
        outage_s=settings.outage.max_s,
        day_s=settings.schedule.day_s,
    )


@dataclass(frozen=True, slots=True)
class Ring:
    """A KeySet and all its keys at one instant."""

    keyset: Resource
    keys: tuple[KeyRecord, ...]
    now: datetime
    schedule: KeySchedule

    @property
    def signing(self) -> KeyRecord | None:
        """The key that signs."""
        return next((key for key in self.keys if key.state_at(self.now) is KeyState.ACTIVE), None)

    @property
    def spare(self) -> KeyRecord | None:
        """The key that will sign next."""
        return spare_of(self.keys, self.now, self.schedule)


def ring_of(keyset: Resource, keys: Iterable[KeyRecord], now: datetime, timing: KeyTiming) -> Ring:
    """The KeySet with those of the keys that are its."""
    rotation = keyset.spec["rotation"]
    interval = timedelta(seconds=rotation["intervalDays"] * timing.day_s) if rotation["enabled"] else None
    schedule = KeySchedule(keyset.spec["algorithm"], interval, timing, ending=keyset.deleted_at is not None)
    return Ring(keyset, tuple(key for key in keys if key.keyset == keyset.name), now, schedule)


def restated(ring: Ring) -> Resource:
    """The KeySet with the status these keys make."""
    keyset = ring.keyset
    status: dict[str, Any] = {"observedGeneration": keyset.generation}
    conditions = [{"type": "Ready", "observedGeneration": keyset.generation, **_readiness(ring)}]
    status["conditions"] = merge_conditions(keyset.status.get("conditions", ()), conditions, ring.now)
    status["keys"] = [_key_as_shown(key, ring.now) for key in sorted(ring.keys, key=_turn)]
    rotates = takes_over_at(ring.keys, ring.now, ring.schedule)
    if rotates is not None:
        status["nextRotation"] = format_time(rotates)
    following = coming(ring.keys, ring.now, ring.schedule)
    if following is not None:
        step, at = following
        kid = {"kid": step.kid} if isinstance(step, Activate | Retire | Prune) else {}
        status["next"] = {"step": type(step).__name__, **kid, "at": format_time(at)}
    return keyset.with_status(status)


def _readiness(ring: Ring) -> dict[str, str]:
    if ring.schedule.ending:
        return {"status": "False", "reason": "Terminating"}
    if ring.signing is not None:
        return {"status": "True", "reason": "Signing"}
    known = may_sign_from(ring.spare, ring.schedule.timing) if ring.spare is not None else None
    if known is None:
        return {"status": "False", "reason": "NoKey", "message": "Its first key is being made."}
    message = f"Its first key signs from {format_time(known)}, when every verifier knows it."
    return {"status": "False", "reason": "Publishing", "message": message}


def _turn(key: KeyRecord) -> tuple[bool, datetime, str]:
    """In the order in which they sign."""
    return key.activated_at is None, key.activated_at or key.created_at, key.kid


def _key_as_shown(key: KeyRecord, now: datetime) -> dict[str, str]:
    instants = {
        "createdAt": key.created_at,
        "publishedAt": key.published_at,
        "activatedAt": key.activated_at,
        "retiresAt": key.retires_at,
        "compromisedAt": key.compromised_at,
    }
    said = {name: format_time(instant) for name, instant in instants.items() if instant is not None}
    return {"kid": key.kid, "algorithm": key.algorithm, "state": key.state_at(now).value, **said}


def objections(keyset: Resource, others: Sequence[Resource], timing: KeyTiming) -> Iterator[Cause]:
    """What speaks against a KeySet beside these others."""
    if keyset.name == ID_TOKEN_KEYSET and keyset.spec["algorithm"] != ID_TOKEN_ALGORITHM:
        why = f"must stay {ID_TOKEN_ALGORITHM}: it signs ID tokens, and that is what every OpenID Connect client reads"
        yield Cause("spec.algorithm", "FieldValueForbidden", why)
    if (often := too_often(keyset, timing)) is not None:
        yield Cause("spec.rotation.intervalDays", "FieldValueInvalid", often)
    owners = {audience: other.name for other in others for audience in other.spec["audiences"]}
    for index, audience in enumerate(keyset.spec["audiences"]):
        if audience in owners:
            why = f"belongs to KeySet {owners[audience]!r}, and an audience has one KeySet: take it away there first"
            yield Cause(f"spec.audiences[{index}]", "FieldValueDuplicate", why)


def too_often(keyset: Resource, timing: KeyTiming) -> str | None:
    """Why its keys cannot take turns as often as it wants, with the numbers; None: they can."""
    rotation, lead_s = keyset.spec["rotation"], timing.lead.total_seconds()
    wanted_s = rotation["intervalDays"] * timing.day_s
    if not rotation["enabled"] or wanted_s >= lead_s:
        return None
    days = "1 day" if rotation["intervalDays"] == 1 else f"{rotation['intervalDays']} days"
    return (
        f"{days} ({span(wanted_s)}) is shorter than the {span(lead_s)} a key must be published before it signs (twice "
        f"keys.jwks_max_age_s {timing.jwks_max_age_s:g} + keys.verifier_refresh_s {timing.verifier_refresh_s:g} + "
        f"outage.max_s {timing.outage_s:g}): at least {-int(-lead_s // timing.day_s)}"
    )


def span(seconds: float) -> str:
    """For sentences: whole seconds as a duration, less than that as it is."""
    return format_duration(int(seconds)) if seconds == int(seconds) else f"{seconds:g}s"
