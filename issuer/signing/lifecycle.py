"""What happens next to the keys of a KeySet, and when: pure, a function of ring, clock and numbers (DESIGN section 7).

    made and published ──lead──▶ may sign ──interval──▶ signs no more ──retention──▶ leaves the JWKS

With M the JWKS max-age, R the verifiers' refresh floor, T the largest lifetime of a token, S the skew, W the outage window:
the lead is 2M + R + W (a verifier that fetched just before the key appeared has fetched again, and a replica cut off from
the database has stopped), the retention T + S + M + W (the last token signed with it has expired everywhere). One step at a
time; whoever takes it repeats the question inside its transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from issuer.signing.keyring import KeyRecord, KeyState


@dataclass(frozen=True, slots=True)
class KeyTiming:
    """The numbers of a deployment, in seconds."""

    jwks_max_age_s: float
    verifier_refresh_s: float
    skew_s: float
    max_ttl_s: float
    outage_s: float
    day_s: float = 86_400
    """How long a day of a KeySet's `intervalDays` lasts."""

    @property
    def lead(self) -> timedelta:
        """How long a key is published before it may sign."""
        return timedelta(seconds=2 * self.jwks_max_age_s + self.verifier_refresh_s + self.outage_s)

    def retention(self, signed_ttl_s: float) -> timedelta:
        """How long a key that signed tokens of up to `signed_ttl_s` stays published after its last."""
        longest_s = max(self.max_ttl_s, signed_ttl_s)
        return timedelta(seconds=longest_s + self.skew_s + self.jwks_max_age_s + self.outage_s)


@dataclass(frozen=True, slots=True)
class KeySchedule:
    """What a KeySet wants: keys of this algorithm, each signing for `interval`; None: until told otherwise.

    `ending`: it was deleted, signs nothing any more, and waits for its last key to leave the JWKS.
    """

    algorithm: str
    interval: timedelta | None
    timing: KeyTiming
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make a key and publish it: there is no spare."""


@dataclass(frozen=True, slots=True)
class Activate:
    """From now on this key signs; the one that did is kept for verification."""

    kid: str


@dataclass(frozen=True, slots=True)
class Retire:
    """This key stands beside a newer active one, and ends signing."""

    kid: str


@dataclass(frozen=True, slots=True)
class Prune:
    """This key verifies nothing any more, or never signed and is not wanted: it goes."""

    kid: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; None: not until something is written."""

    until: datetime | None


Step: TypeAlias = Prepare | Activate | Retire | Prune | Wait
MOST_PUBLISHED = 3
"""Keys of one KeySet in the JWKS, in a steady life: one that signed, the one that signs, the one that will."""


def next_step(ring: Sequence[KeyRecord], now: datetime, schedule: KeySchedule) -> Step:
    """The one thing to do now. Never leaves the ring without a key that signs, once it had one and is not ending."""
    signing = _in_state(ring, now, KeyState.ACTIVE)
    spares = _in_state(ring, now, KeyState.PENDING)
    if len(signing) > (0 if schedule.ending else 1):
        return Retire(signing[0].kid)
    unwanted = [key for key in spares if schedule.ending or key.algorithm != schedule.algorithm]
    wanted = [key for key in spares if key not in unwanted]
    if not wanted and not schedule.ending:
        return Prepare()
    if unwanted or len(wanted) > 1:
        return Prune((unwanted or wanted)[-1].kid)
    takes_over = takes_over_at(ring, now, schedule)
    if takes_over is not None and takes_over <= now:
        return Activate(wanted[0].kid)
    gone = {key.kid: ends for key in ring if (ends := verifies_until(key, schedule.timing)) is not None}
    over = next((kid for kid, ends in gone.items() if ends <= now), None)
    if over is not None:
        return Prune(over)
    return Wait(min([*gone.values(), *([takes_over] if takes_over is not None else [])], default=None))


def coming(ring: Sequence[KeyRecord], now: datetime, schedule: KeySchedule) -> tuple[Step, datetime] | None:
    """The next thing that will be done, and when; None: nothing, until something is written."""
    step = next_step(ring, now, schedule)
    if not isinstance(step, Wait):
        return step, now
    return (next_step(ring, step.until, schedule), step.until) if step.until is not None else None


def spare_of(ring: Sequence[KeyRecord], now: datetime, schedule: KeySchedule) -> KeyRecord | None:
    """The key that will sign next."""
    wanted = (key for key in _in_state(ring, now, KeyState.PENDING) if key.algorithm == schedule.algorithm)
    return None if schedule.ending else next(wanted, None)


def with_lifetimes(ring: Sequence[KeyRecord], now: datetime, timing: KeyTiming) -> tuple[KeyRecord, ...]:
    """The ring with the largest lifetime in force noted on the key that signs: its retention follows, and never shrinks."""
    return tuple(
        replace(key, signed_ttl_s=max(key.signed_ttl_s, timing.max_ttl_s))
        if key.state_at(now) is KeyState.ACTIVE
        else key
        for key in ring
    )


def taken(ring: Sequence[KeyRecord], step: Step, now: datetime, schedule: KeySchedule) -> tuple[KeyRecord, ...]:
    """The ring after a step that makes no key. What was decided of a key before never becomes shorter."""
    match step:
        case Activate(kid):
            return tuple(
                replace(key, activated_at=now)
                if key.kid == kid
                else _ended(key, now, schedule)
                if key.state_at(now) is KeyState.ACTIVE
                else key
                for key in ring
            )
        case Retire(kid):
            return tuple(_ended(key, now, schedule) if key.kid == kid else key for key in ring)
        case Prune(kid):
            return tuple(key for key in ring if key.kid != kid)
        case Prepare() | Wait():
            return tuple(ring)


def compromised(ring: Sequence[KeyRecord], kid: str, now: datetime) -> tuple[KeyRecord, ...]:
    """The ring without trust in one key: it leaves the JWKS, and the spare signs at once, whatever its age."""
    was_signing = any(key.kid == kid and key.state_at(now) is KeyState.ACTIVE for key in ring)
    marked = [replace(key, compromised_at=now) if key.kid == kid else key for key in ring]
    spare = next(iter(_in_state(marked, now, KeyState.PENDING)), None)
    if not was_signing or spare is None:
        return tuple(marked)
    return tuple(replace(key, activated_at=now) if key.kid == spare.kid else key for key in marked)


def verifies_until(key: KeyRecord, timing: KeyTiming) -> datetime | None:
    """When nothing this key signed can be good any more; None while it signs, or before it does."""
    if key.compromised_at is not None:
        return key.compromised_at + timing.retention(key.signed_ttl_s)
    return key.retires_at


def may_sign_from(spare: KeyRecord, timing: KeyTiming) -> datetime | None:
    """When every verifier knows this key; None before it is published."""
    return spare.published_at + timing.lead if spare.published_at is not None else None


def takes_over_at(ring: Sequence[KeyRecord], now: datetime, schedule: KeySchedule) -> datetime | None:
    """When the spare begins to sign. None: only when somebody says so, or there is none."""
    spare, signing = spare_of(ring, now, schedule), _in_state(ring, now, KeyState.ACTIVE)
    known = may_sign_from(spare, schedule.timing) if spare is not None else None
    if spare is None or known is None:
        return None
    if not signing:
        # A ring that lost its key to a compromise signs nothing at all: the spare is taken as it is.
        bereft = any(key.compromised_at is not None and key.activated_at is not None for key in ring)
        return spare.published_at if bereft else known
    current = signing[0]
    if current.algorithm != schedule.algorithm:
        return known
    if schedule.interval is None:
        return None
    return max(known, (current.activated_at or current.created_at) + schedule.interval)


def _ended(key: KeyRecord, now: datetime, schedule: KeySchedule) -> KeyRecord:
    return replace(key, retires_at=now + schedule.timing.retention(key.signed_ttl_s))


def _in_state(ring: Sequence[KeyRecord], now: datetime, state: KeyState) -> list[KeyRecord]:
    """Oldest first."""
    found = [key for key in ring if key.state_at(now) is state]
    return sorted(found, key=lambda key: (key.activated_at or key.created_at, key.kid))
