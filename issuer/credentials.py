"""The life of a client secret, pure: versions in, versions out, the instant always a parameter (DESIGN section 4).

    pending ──acknowledged, first used, or held too long──▶ active ──a newer one became active──▶ grace ──▶ retired
       └──────────────────────────── cut as compromised ────────┴──────────────────────────────────┘

House rules: no state is stored, only instants; a version's state is computed from them at use, so nothing depends on a job
having run. While a version is pending its predecessor is *held*: rotating to a secret nobody has is an outage.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hmac import compare_digest, digest
from typing import TypeAlias
from zlib import crc32

MAX_LIVE_VERSIONS = 8
"""More secrets than this are never accepted at once: each is compared at every authentication."""
MAX_KEPT_VERSIONS = 32
"""Retired versions are remembered this far back, so that one presented again is noticed."""
UNDELIVERED_DAYS = 7
"""How long a secret may wait for its driver before somebody is told."""


class SecretState(StrEnum):
    """Where a version stands in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    GRACE = "grace"
    RETIRED = "retired"


class LifecycleConflict(Exception):
    """The step is not possible now (409); the message says why and what to do."""


class NothingToRead(Exception):
    """There is no version whose plaintext is still kept (404)."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One generated secret, without the secret.

    `activated_at`: acknowledged or first used. `retires_at`: accepted before it, not from it on. `cut_at`: cut as
    compromised. `hold_until`: when a pending version stops holding its predecessor. `grace_s`: what the predecessor gets
    when this one becomes active, None for what the account says at that moment; a version whose hold will end has it from
    the start, so that an edit of the account after that end rewrites nothing. `overdue_at`: when somebody was told that
    nobody stores it.
    """

    version: int
    created_at: datetime
    handed_out_at: datetime | None = None
    activated_at: datetime | None = None
    acknowledged_at: datetime | None = None
    retires_at: datetime | None = None
    cut_at: datetime | None = None
    hold_until: datetime | None = None
    grace_s: float | None = None
    overdue_at: datetime | None = None

    def state_at(self, now: datetime) -> SecretState:
        """The state of a settled version (see `settle`). A cut needs no clock: it holds where one is behind, too."""
        if self.cut_at is not None or (self.retires_at is not None and self.retires_at <= now):
            return SecretState.RETIRED
        if self.activated_at is None:
            return SecretState.PENDING
        return SecretState.ACTIVE if self.retires_at is None else SecretState.GRACE

    @property
    def readable(self) -> bool:
        """Whether its plaintext is still kept for its driver, as long as it is the newest."""
        return self.acknowledged_at is None and self.cut_at is None


Versions: TypeAlias = tuple[SecretVersion, ...]
"""All known versions of one account, oldest first."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the account and the policies over it say about rotation, at this moment."""

    grace_s: float
    max_hold_s: float | None = None
    max_grace_s: float | None = None


def settle(versions: Versions, terms: Terms, now: datetime) -> Versions:
    """The same versions with every hold that has ended applied, as if acknowledged at that instant."""
    if not versions:
        return versions
    newest = versions[-1]
    due = newest.activated_at is None and newest.hold_until is not None and newest.hold_until <= now
    if not due or newest.hold_until is None:
        return versions
    # What ended has ended: a ceiling of today does not move an end of yesterday.
    return _activate(versions, newest, replace(terms, max_grace_s=None), newest.hold_until)


def first_version(now: datetime) -> Versions:
    """Version 1, pending, nobody has it: nothing is held, so no hold can end."""
    return (SecretVersion(1, now),)


@dataclass(frozen=True, slots=True)
class Handover:
    """What a hand-out did. `made`: the version is new and needs a fresh secret."""

    versions: Versions
    version: int
    made: bool


def hand_out(
    versions: Versions,
    terms: Terms,
    now: datetime,
    *,
    expected_version: int | None = None,
    acknowledge: bool = False,
    compromised: bool = False,
    grace_s: float | None = None,
) -> Handover:
    """Gives the caller a version to store: a pending one nobody has been given, else a new one.

    Raises LifecycleConflict when another driver holds a pending version, when `expected_version` is not the newest, or when
    too many versions are live. `compromised` cuts all older versions at this instant, the pending one included.
    """
    versions = settle(versions, terms, now)
    newest = versions[-1]
    if expected_version is not None and expected_version != newest.version:
        raise LifecycleConflict(f"the newest version is {newest.version}, not {expected_version}: read it again")
    pending = newest.state_at(now) is SecretState.PENDING
    if compromised:
        versions = tuple(_cut(version, now) for version in versions)
    elif pending and newest.handed_out_at is None:
        given = replace(newest, handed_out_at=now, grace_s=grace_s if grace_s is not None else newest.grace_s)
        versions = _replaced(versions, given)
        return Handover(
            _acknowledged(versions, given, terms, now) if acknowledge else versions, given.version, made=False
        )
    elif pending:
        raise LifecycleConflict(
            f"version {newest.version} was handed out and is not acknowledged yet: its driver acknowledges it, or reads it "
            'again at credentials/current; {"compromised": true} replaces it'
        )
    versions = _with_next(versions, terms, now, grace_s)
    made = replace(versions[-1], handed_out_at=now)
    versions = _replaced(versions, made)
    return Handover(_acknowledged(versions, made, terms, now) if acknowledge else versions, made.version, made=True)


def make_next(versions: Versions, terms: Terms, now: datetime) -> Versions:
    """The versions with a new one, pending, that nobody has been given yet: what rotation on schedule does.

    Raises LifecycleConflict while one is pending, since a second would be a secret nobody has either, and when too many
    are live.
    """
    versions = settle(versions, terms, now)
    if versions[-1].state_at(now) is SecretState.PENDING:
        raise LifecycleConflict(f"version {versions[-1].version} is pending")
    return _with_next(versions, terms, now, None)


def _with_next(versions: Versions, terms: Terms, now: datetime, grace_s: float | None) -> Versions:
    """A new version behind settled ones."""
    if len(live_versions(versions, now)) >= MAX_LIVE_VERSIONS:
        raise LifecycleConflict(f"{MAX_LIVE_VERSIONS} versions are live: wait until one of them retires")
    hold_until = None
    if terms.max_hold_s is not None:
        hold_until = now + timedelta(seconds=terms.max_hold_s)
        grace_s = grace_s if grace_s is not None else terms.grace_s
    made = SecretVersion(versions[-1].version + 1, now, grace_s=grace_s, hold_until=hold_until)
    return _bounded((*versions, made), now)


def live_versions(versions: Versions, now: datetime) -> Versions:
    """Those that are accepted at this instant, of settled ones."""
    return tuple(version for version in versions if version.state_at(now) is not SecretState.RETIRED)


def read_current(versions: Versions, terms: Terms, now: datetime) -> Handover:
    """The newest version again, as long as it is unacknowledged. Raises NothingToRead."""
    versions = settle(versions, terms, now)
    newest = versions[-1]
    if not newest.readable:
        raise NothingToRead(f"version {newest.version} is acknowledged: its secret is not kept any more")
    given = replace(newest, handed_out_at=newest.handed_out_at or now)
    return Handover(_replaced(versions, given), given.version, made=False)


def acknowledge(versions: Versions, number: int, terms: Terms, now: datetime) -> Versions:
    """The versions after their driver said that it stored `number`. Twice is the same as once.

    Raises LifecycleConflict for a version that is not the newest, was cut, or was never handed out.
    """
    versions = settle(versions, terms, now)
    newest = versions[-1]
    if number != newest.version:
        raise LifecycleConflict(f"version {number} is superseded: the newest is {newest.version}")
    if newest.handed_out_at is None:
        raise LifecycleConflict(f"version {number} was not handed out yet: nobody can have stored it")
    return _acknowledged(versions, newest, terms, now)


def first_use(versions: Versions, number: int, terms: Terms, now: datetime) -> Versions:
    """The versions after `number` authenticated somebody: a pending one becomes active, its delivery stays open."""
    versions = settle(versions, terms, now)
    used = next((version for version in versions if version.version == number), None)
    if used is None or used.state_at(now) is not SecretState.PENDING:
        return versions
    return _activate(versions, used, terms, now)


def _acknowledged(versions: Versions, version: SecretVersion, terms: Terms, now: datetime) -> Versions:
    if version.activated_at is None:
        versions = _activate(versions, version, terms, now)
    done = next(each for each in versions if each.version == version.version)
    return _replaced(versions, replace(done, acknowledged_at=done.acknowledged_at or now))


def _activate(versions: Versions, version: SecretVersion, terms: Terms, at: datetime) -> Versions:
    """`version` becomes active at `at`; every older one that had no end yet gets one."""
    wished = version.grace_s if version.grace_s is not None else terms.grace_s
    grace = timedelta(seconds=wished if terms.max_grace_s is None else min(wished, terms.max_grace_s))
    return tuple(
        replace(each, activated_at=at)
        if each.version == version.version
        else replace(each, retires_at=at + grace)
        if each.version < version.version and each.retires_at is None
        else each
        for each in versions
    )


def _bounded(versions: Versions, now: datetime) -> Versions:
    """Without the oldest retired ones beyond MAX_KEPT_VERSIONS. A live one stays, however old: its grace was promised."""
    retired = [each.version for each in versions if each.state_at(now) is SecretState.RETIRED]
    forgotten = set(retired[: max(0, len(versions) - MAX_KEPT_VERSIONS)])
    return tuple(each for each in versions if each.version not in forgotten)


def _cut(version: SecretVersion, now: datetime) -> SecretVersion:
    end = min(version.retires_at, now) if version.retires_at is not None else now
    return replace(version, cut_at=version.cut_at or now, retires_at=end)


def _replaced(versions: Versions, changed: SecretVersion) -> Versions:
    return tuple(changed if each.version == changed.version else each for each in versions)


# --- the secret itself ------------------------------------------------------------------------------------------------

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_PREFIX = "isk1_"  # noqa: S105


def format_secret(random_256_bits: bytes) -> str:
    """`isk1_`, 43 base62 characters, 6 base62 of their CRC-32: scanners find a leaked one, form-encoding never changes it."""
    if len(random_256_bits) != 32:  # noqa: PLR2004
        raise ValueError("a secret is made of 256 bits")
    body = _base62(int.from_bytes(random_256_bits, "big"), 43)
    return SECRET_PREFIX + body + _base62(crc32(body.encode()), 6)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_BASE62[rest])
    return "".join(reversed(digits))


# --- what the token path compares ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretDigest:
    """One version as the token path knows it.

    `accepted_until`: POSIX seconds, None without an end in sight, 0 for one that was cut: whatever this replica's clock says.
    """

    version: int
    pepper_id: str
    hmac: bytes = field(repr=False)
    pending: bool
    cut: bool
    accepted_until: float | None


def compile_digests(stored: Iterable[tuple[SecretVersion, str, bytes]], terms: Terms) -> tuple[SecretDigest, ...]:
    """Version, pepper id and HMAC become digests; a hold that will end is folded into its predecessor's end."""
    rows = tuple(stored)
    versions = tuple(version for version, _, _ in rows)
    newest = versions[-1] if versions else None
    hold_until = newest.hold_until if newest is not None and newest.activated_at is None else None
    settled = versions if hold_until is None else settle(versions, terms, hold_until)
    return tuple(
        SecretDigest(
            version=version.version,
            pepper_id=pepper_id,
            hmac=hmac,
            pending=version.activated_at is None and version.cut_at is None,
            cut=version.cut_at is not None,
            accepted_until=_accepted_until(end),
        )
        for (version, pepper_id, hmac), end in zip(rows, settled, strict=True)
    )


def _accepted_until(version: SecretVersion) -> float | None:
    if version.cut_at is not None:
        return 0.0
    return version.retires_at.timestamp() if version.retires_at is not None else None


def match_secret(secret: bytes, known: Sequence[SecretDigest], peppers: Mapping[str, bytes]) -> SecretDigest | None:
    """The version whose secret this is, whatever its state; None for none.

    One HMAC per pepper and no early exit: how long it takes says neither whether the account exists nor how many versions
    it has (dex PR #1861, authlib PR #433, fosite `checkClientSecret`).
    """
    presented = {pepper_id: digest(pepper, secret, "sha256") for pepper_id, pepper in peppers.items()}
    found = None
    for candidate in known:
        if compare_digest(candidate.hmac, presented.get(candidate.pepper_id, b"")):
            found = candidate
    return found
