"""KeySets and their keys where people decide: what is written of a KeySet, a rotation now, a key nobody must trust any more.

Whatever changes a ring does it here or in `keysteps`, under the one lock of all KeySets: rows, status, audit record and
revision together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, ValidationError

from issuer.administration.authorize import Principal, authorize
from issuer.administration.keysets import Ring, objections, restated, ring_of, span
from issuer.administration.writing import Write, WritePath
from issuer.events import KeyActivated, KeyActivatedEarly, KeyCompromised, KeysCrowded
from issuer.model.faults import Cause, Fault, Reason, causes_of, conflict, invalid, not_found
from issuer.model.keyset import MAX_KEYSETS, PERMANENT_KEYSETS
from issuer.model.kinds import KEY_SET
from issuer.model.metadata import Written
from issuer.model.resource import GROUP, Resource
from issuer.model.times import format_time
from issuer.signing.keyring import KeyRecord, published_keys
from issuer.signing.lifecycle import (
    MOST_PUBLISHED,
    Activate,
    KeyTiming,
    Wait,
    compromised,
    may_sign_from,
    next_step,
    taken,
    with_lifetimes,
)
from issuer.store.clock import Clock
from issuer.store.keys import load_records, lock_keys, save_ring
from issuer.store.resources import find, list_of_kind


class CompromiseRequest(Written):
    """The body of `POST …/compromise`: which key somebody else may have."""

    kid: Annotated[str, Field(min_length=1, max_length=256)]
    """One of `status.keys`."""


@dataclass(frozen=True, slots=True)
class Compromised:
    """What a compromise comes to. `signed_from` None: the key never signed; `signing` None: there was no other to take over."""

    kid: str
    compromised_at: datetime
    signed_from: datetime | None
    signed_until: datetime | None
    signing: str | None
    timing: KeyTiming

    def to_json(self) -> Mapping[str, Any]:
        """The answer."""
        said: dict[str, Any] = {
            "kid": self.kid,
            "compromisedAt": format_time(self.compromised_at),
            "trustedUntil": format_time(self.compromised_at + timedelta(seconds=self.timing.jwks_max_age_s)),
        }
        if self.signed_from is not None and self.signed_until is not None:
            longest = timedelta(seconds=self.timing.max_ttl_s)
            said["signedFrom"] = format_time(self.signed_from)
            said["signedUntil"] = format_time(self.signed_until)
            said["lastExpiry"] = format_time(self.signed_until + longest)
        return {**said, **({"signing": self.signing} if self.signing is not None else {})}


class KeyKeeper:
    """The keys of KeySets. `clock` is the database's; `timing` the numbers of this deployment."""

    def __init__(self, path: WritePath, timing: KeyTiming, clock: Clock) -> None:
        self.path = path
        self.timing = timing
        self.clock = clock

    # --- what is written of a KeySet ---

    async def lock(self, write: Write) -> None:
        """Before the row of any KeySet is: the order of locks is the same everywhere."""
        await lock_keys(write.connection)

    async def admitted(self, write: Write, keyset: Resource, before: Resource | None) -> Resource:
        """The KeySet as it may be written, with its status. Raises Fault."""
        await self.lock(write)
        if before is not None and before.deleted_at is not None and keyset.spec != before.spec:
            raise conflict(KEY_SET.kind, keyset.name, f"KeySet {keyset.name!r} is being deleted: it cannot be changed")
        stored = await list_of_kind(write.connection, KEY_SET, None, limit=MAX_KEYSETS + 1)
        if before is None and len(stored) >= MAX_KEYSETS:
            raise Fault(
                Reason.FORBIDDEN,
                f"there are {len(stored)} KeySets, and at most {MAX_KEYSETS} may exist, those being deleted included",
                kind=KEY_SET.kind,
                name=keyset.name,
            )
        others = [each for each in stored if each.name != keyset.name and each.deleted_at is None]
        if keyset.deleted_at is None and (causes := list(objections(keyset, others, self.timing))):
            raise invalid(KEY_SET.kind, keyset.name, causes)
        return restated(await self._ring(write, keyset))

    async def ending(self, write: Write, keyset: Resource) -> Resource:
        """A KeySet that was marked as deleted: nothing of it signs from here on, and what it signed goes on verifying."""
        ring = await self._ring(write, keyset)
        keys = ring.keys
        while not isinstance(step := next_step(keys, ring.now, ring.schedule), Wait):
            keys = taken(keys, step, ring.now, ring.schedule)
        await save_ring(write.connection, ring.keys, keys)
        return restated(replace(ring, keys=keys))

    # --- what is done by hand ---

    async def rotate(self, principal: Principal, name: str, *, emergency: bool, dry_run: bool) -> Resource:
        """The KeySet after its spare began to sign; `emergency`: although verifiers may not know it yet. Raises Fault."""
        authorize(principal, "create", GROUP, KEY_SET.plural, "", name, "rotate")
        async with self.path.write(principal, "rotate", dry_run=dry_run) as write:
            ring = await self.locked(write, name)
            spare, known = _ready_spare(ring)
            if ring.now < known and not emergency:
                raise conflict(
                    KEY_SET.kind,
                    name,
                    f"the next key was published {span(_age_s(spare, ring.now))} ago, and verifiers may not know it before "
                    f"{format_time(known)}: rotate then, or with ?emergency=true, and tokens will fail until they do",
                )
            keys = taken(ring.keys, Activate(spare.kid), ring.now, ring.schedule)
            note = {"kid": spare.kid, "publishedForSeconds": round(_age_s(spare, ring.now)), "emergency": emergency}
            keyset = await self.commit(write, ring, keys, note)
        if not dry_run:
            self.say_activated(ring, spare, keys)
        return keyset

    async def compromise(self, principal: Principal, name: str, body: Any, *, dry_run: bool) -> Compromised:
        """A key leaves the JWKS for good; if it signed, the spare does from here on, whatever its age. Raises Fault.

        Said of a key that was compromised before, nothing changes.
        """
        authorize(principal, "create", GROUP, KEY_SET.plural, "", name, "compromise")
        try:
            kid = CompromiseRequest.model_validate({} if body is None else body).kid
        except ValidationError as error:
            raise invalid(KEY_SET.kind, name, causes_of(error)) from None
        async with self.path.write(principal, "compromise", dry_run=dry_run) as write:
            ring = await self.locked(write, name)
            key = next((each for each in ring.keys if each.kid == kid), None)
            if key is None:
                why = f"is no key of KeySet {name!r}; its status.keys lists them"
                raise invalid(KEY_SET.kind, name, [Cause("kid", "FieldValueInvalid", why)])
            known = key.compromised_at is not None
            keys = ring.keys if known else compromised(ring.keys, kid, ring.now)
            after = replace(ring, keys=keys)
            told = _compromised(key, after, self.timing)
            if not known:
                note = {key: value for key, value in told.to_json().items() if key != "trustedUntil"}
                await self.commit(write, ring, keys, note)
        if not known and not dry_run:
            self._say_compromised(name, told)
            if after.signing is not None and after.signing != ring.signing:
                self.say_activated(ring, after.signing, keys)
        return told

    # --- what both hands and schedule need ---

    async def locked(self, write: Write, name: str) -> Ring:
        """The KeySet with its keys; nobody else changes them until the commit. Raises Fault."""
        await self.lock(write)
        keyset = await find(write.connection, KEY_SET, "", name, lock="update")
        if keyset is None:
            raise not_found(KEY_SET.kind, name)
        return await self._ring(write, keyset)

    async def commit(self, write: Write, ring: Ring, keys: tuple[KeyRecord, ...], note: Mapping[str, Any]) -> Resource:
        """Writes what the ring became; the last statement. A new key was inserted before."""
        keys = with_lifetimes(keys, ring.now, self.timing)
        await save_ring(write.connection, ring.keys, keys)
        return await write.commit_one(ring.keyset, restated(replace(ring, keys=keys)), note)

    def say_activated(self, ring: Ring, key: KeyRecord, keys: tuple[KeyRecord, ...]) -> None:
        """The event of a key that began to sign; another one when verifiers may not know it yet."""
        replaced = ring.signing.kid if ring.signing is not None else ""
        age_s, lead_s = _age_s(key, ring.now), self.timing.lead.total_seconds()
        if age_s < lead_s:
            self.path.emit(KeyActivatedEarly(key.keyset, key.kid, replaced, age_s, lead_s))
        else:
            self.path.emit(KeyActivated(key.keyset, key.kid, replaced, age_s))
        self.say_if_crowded(key.keyset, keys, ring.now)

    def say_if_crowded(self, keyset: str, keys: tuple[KeyRecord, ...], now: datetime) -> None:
        """The event of more published keys than a steady life has: rotations follow each other faster than tokens expire."""
        shown = len(published_keys(keys, now))
        if shown > MOST_PUBLISHED:
            self.path.emit(KeysCrowded(keyset, shown))

    def _say_compromised(self, name: str, told: Compromised) -> None:
        said = told.to_json()
        self.path.emit(
            KeyCompromised(name, told.kid, said.get("signedFrom", ""), said.get("signedUntil", ""), told.signing or "")
        )

    async def _ring(self, write: Write, keyset: Resource) -> Ring:
        now = await self.clock(write.connection)
        return ring_of(keyset, await load_records(write.connection, keyset.name), now, self.timing)


def cannot_be_deleted(name: str) -> str | None:
    """Why a KeySet must stay; None: it may go."""
    if name not in PERMANENT_KEYSETS:
        return None
    return f"KeySet {name!r} signs what no other KeySet does, and cannot be deleted"


def _ready_spare(ring: Ring) -> tuple[KeyRecord, datetime]:
    """The spare and when it may sign. Raises Fault (409)."""
    name = ring.keyset.name
    if ring.schedule.ending:
        raise conflict(KEY_SET.kind, name, f"KeySet {name!r} is being deleted: it signs nothing any more")
    known = may_sign_from(ring.spare, ring.schedule.timing) if ring.spare is not None else None
    if ring.spare is None or known is None:
        raise conflict(KEY_SET.kind, name, "there is no next key yet: one is made within seconds, try again")
    return ring.spare, known


def _compromised(key: KeyRecord, after: Ring, timing: KeyTiming) -> Compromised:
    at = key.compromised_at or after.now
    began = [other.activated_at for other in after.keys if other.activated_at is not None]
    successors = [instant for instant in began if key.activated_at is not None and instant > key.activated_at]
    return Compromised(
        kid=key.kid,
        compromised_at=at,
        signed_from=key.activated_at,
        signed_until=min([at, *successors]) if key.activated_at is not None else None,
        signing=after.signing.kid if after.signing is not None else None,
        timing=timing,
    )


def _age_s(key: KeyRecord, now: datetime) -> float:
    return (now - (key.published_at or now)).total_seconds()
