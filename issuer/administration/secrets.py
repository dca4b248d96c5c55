"""Delivery of secrets (DESIGN section 4): the plaintext of a version stays sealed until its driver says it is stored.

`credentials` decides what a step does, `store.secrets` writes it, this module joins the two under the lock of the account's
row: whatever two drivers do at once happens one after the other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import digest
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, ValidationError

from issuer import credentials
from issuer.administration.authorize import SYSTEM, Principal, authorize
from issuer.administration.preconditions import Driver, check_driver
from issuer.administration.schedule import SPREAD_DAYS, delivery_note, next_rotation
from issuer.administration.writing import Write, WritePath
from issuer.credentials import Handover, LifecycleConflict, NothingToRead, SecretState, Terms, Versions
from issuer.events import SecretFirstUsed
from issuer.model.durations import format_duration
from issuer.model.faults import Cause, Fault, Reason, causes_of, conflict, invalid, not_found
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.model.metadata import Written
from issuer.model.resource import GROUP, Resource
from issuer.model.serviceaccount import SECRET_METHODS, Delivery, accepts_a_secret, as_seen_at, status_of
from issuer.model.times import format_time, parse_time
from issuer.policy.decide import Allowed, decide
from issuer.policy.governed import Governed, govern
from issuer.protocol.grants import TokenAsk
from issuer.settings import ScheduleSettings
from issuer.signing.sealing import MasterKey, SealError
from issuer.snapshot import Governance
from issuer.store.database import Connection
from issuer.store.resources import find, find_by_uid, record_audit
from issuer.store.secrets import NewSecret, Rewritten, load_sealed, load_versions, save_versions
from issuer.store.usage import last_uses

SEAL_PURPOSE = "client-secret"


class HandOutRequest(Written):
    """The body of `POST …/credentials`; an empty one asks for the next version."""

    expected_version: Annotated[int, Field(ge=1)] | None = None
    """The newest version as the driver knows it: 409 when there is a newer one by now."""
    acknowledge: bool = False
    """Whether the secret counts as stored at once, for who cannot lose the answer."""
    compromised: bool = False
    """Whether every older secret is refused from now on, without any grace."""
    grace_period_hours: Annotated[int, Field(ge=0, le=8760)] | None = None
    """How long the previous secret is still accepted; as the account and its policies say when left out."""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A version with its plaintext, for its driver's eyes only."""

    version: int
    state: SecretState
    client_id: str
    client_secret: str = field(repr=False)
    created_at: datetime

    def to_json(self) -> Mapping[str, Any]:
        """The answer; never cached, never logged."""
        return {
            "version": self.version,
            "state": self.state.value,
            "clientId": self.client_id,
            "clientSecret": self.client_secret,
            "createdAt": format_time(self.created_at),
        }


class SecretKeeper:
    """Makes, hands out and retires secret versions. `peppers` and `governance` are the current ones."""

    def __init__(
        self,
        path: WritePath,
        master_key: MasterKey,
        schedule: ScheduleSettings,
        peppers: Callable[[], Mapping[str, bytes]],
        governance: Callable[[], Governance],
    ) -> None:
        self._path = path
        self._master_key = master_key
        self._schedule = schedule
        self._peppers = peppers
        self._governance = governance
        self._last: tuple[Resource, Governance, Governed] | None = None

    async def hand_out(self, principal: Principal, namespace: str, name: str, body: Any, driver: Driver) -> HandedOut:
        """`POST …/credentials`: a version to store. Raises Fault."""
        authorize(principal, "create", GROUP, SERVICE_ACCOUNT.plural, namespace, name, "credentials")
        try:
            request = HandOutRequest.model_validate({} if body is None else body)
        except ValidationError as error:
            raise invalid(SERVICE_ACCOUNT.kind, name, causes_of(error)) from None
        async with self._path.write(principal, "create credentials") as write:
            account = await self._locked(write, namespace, name)
            check_driver(account, driver)
            if account.deleted_at is not None:
                raise conflict(account.kind, name, "the account is being deleted: it gets no new secret")
            return await self.rotate(write, account, request)

    async def rotate(self, write: Write, account: Resource, request: HandOutRequest) -> HandedOut:
        """The step itself, in a write that has locked the account."""
        terms, now = self.terms(account), self._path.sources.now()
        before = await load_versions(write.connection, account.uid)
        grace = request.grace_period_hours
        ceiling = self._governed(account).rotation.max_grace_period_hours
        if grace is not None and ceiling is not None and grace > ceiling:
            cause = Cause("gracePeriodHours", "FieldValueInvalid", f"policy allows at most {ceiling} hours")
            raise invalid(account.kind, account.name, [cause])
        with _as_conflict(account):
            handover = credentials.hand_out(
                before,
                terms,
                now,
                expected_version=request.expected_version,
                acknowledge=request.acknowledge,
                compromised=request.compromised,
                grace_s=grace * self._schedule.hour_s if grace is not None else None,
            )
        note: dict[str, Any] = {"version": handover.version, "made": handover.made}
        if request.compromised:
            note["compromised"] = True
        plaintext = (
            self._path.sources.client_secret()
            if handover.made
            else await self._unsealed(write.connection, account, handover.version)
        )
        new = {handover.version: self._protect(account, handover.version, plaintext)} if handover.made else {}
        await self._save(write, account, before, handover.versions, new, note)
        return self._handed_out(account, handover, plaintext, now)

    async def current(self, principal: Principal, namespace: str, name: str) -> HandedOut:
        """`GET …/credentials/current`: the newest version again while it is unacknowledged. Audited. Raises Fault."""
        authorize(principal, "get", GROUP, SERVICE_ACCOUNT.plural, namespace, name, "credentials")
        async with self._path.write(principal, "get credentials") as write:
            account = await self._locked(write, namespace, name)
            now = self._path.sources.now()
            before = await load_versions(write.connection, account.uid)
            try:
                handover = credentials.read_current(before, self.terms(account), now)
            except NothingToRead as error:
                raise Fault(Reason.NOT_FOUND, str(error), kind=account.kind, name=name) from None
            plaintext = await self._unsealed(write.connection, account, handover.version)
            note = {"version": handover.version}
            if not await self._save(write, account, before, handover.versions, {}, note):
                await record_audit(write.connection, write.audit_entry(account, note))
            return self._handed_out(account, handover, plaintext, now)

    async def acknowledge(self, principal: Principal, namespace: str, name: str, version: int) -> Resource:
        """`POST …/credentials/{version}/acknowledge`: the version is stored. Twice is the same as once. Raises Fault."""
        authorize(principal, "create", GROUP, SERVICE_ACCOUNT.plural, namespace, name, "credentials")
        async with self._path.write(principal, "acknowledge credentials") as write:
            account = await self._locked(write, namespace, name)
            before = await load_versions(write.connection, account.uid)
            if version not in {each.version for each in before}:
                raise Fault(Reason.NOT_FOUND, f"there is no version {version}", kind=account.kind, name=name)
            with _as_conflict(account):
                after = credentials.acknowledge(before, version, self.terms(account), self._path.sources.now())
            await self._save(write, account, before, after, {}, {"version": version})
        return await self._reread(account)

    async def record_first_use(self, uid: UUID, version: int) -> None:
        """A pending version was used: it becomes active. Nothing happens when that is known already."""
        async with self._path.write(SYSTEM, "use credentials") as write:
            account = await find_by_uid(write.connection, uid, lock=True)
            if account is None:
                return
            before = await load_versions(write.connection, uid)
            after = credentials.first_use(before, version, self.terms(account), self._path.sources.now())
            await self._save(write, account, before, after, {}, {"version": version})
        if write.changes:
            self._path.emit(SecretFirstUsed(account.client_id, version))

    async def equip(self, write: Write, account: Resource) -> Resource:
        """A new account with version 1, pending, and its first status. The caller commits it."""
        versions: Versions = ()
        if accepts_a_secret(account.spec):
            versions = credentials.first_version(self._path.sources.now())
            secret = self.make(account, 1)
            if not write.dry_run:
                await save_versions(write.connection, Rewritten(account.uid, (), versions, {1: secret}))
        return self.stated(account, versions, self._path.sources.now())

    async def restate(self, connection: Connection, account: Resource) -> Resource:
        """The account with the status its spec and its secrets make now."""
        return self.stated(account, await load_versions(connection, account.uid), self._path.sources.now())

    async def detailed(self, connection: Connection, account: Resource) -> Resource:
        """The account as GET of one shows it: with what is computed from side tables (DESIGN section 3)."""
        now = self._path.sources.now()
        seen = as_seen_at(account, now)
        versions = credentials.settle(await load_versions(connection, account.uid), self.terms(account), now)
        used = {name: format_time(at) for name, at in (await last_uses(connection, account.uid)).items()}
        listed = [
            {
                "version": each.version,
                "state": each.state_at(now).value,
                "createdAt": format_time(each.created_at),
                **({"retiresAt": format_time(each.retires_at)} if each.retires_at else {}),
                **({"lastUsed": used[name]} if (name := f"secret/{each.version}") in used else {}),
            }
            for each in versions
        ]
        computed = {"lastUsed": used[""]} if "" in used else {}
        return seen.with_status(
            {**seen.status, **computed, "credentials": listed, "effective": self._effective(account, now)}
        )

    def terms(self, account: Resource) -> Terms:
        """What the account and the policies over it say about rotation now."""
        return self._governance().terms(self._governed(account).rotation)

    def stated(self, account: Resource, versions: Versions, now: datetime) -> Resource:
        """The account with the status its spec and these secrets make at this instant."""
        versions = credentials.settle(versions, self.terms(account), now)
        delivery = Delivery(
            usable=any(version.activated_at is not None for version in versions) or not versions,
            awaiting=bool(versions) and versions[-1].acknowledged_at is None,
            rotated_at=versions[-1].created_at if versions else None,
            due_at=self._due_at(account, versions, now) if versions else None,
            note=delivery_note(versions) if versions else None,
        )
        return account.with_status(status_of(account, delivery, now))

    def _due_at(self, account: Resource, versions: Versions, now: datetime) -> datetime | None:
        governed = self._governed(account)
        if not governed.rotation.enabled or SECRET_METHODS.isdisjoint(governed.methods_left):
            return None
        interval = timedelta(seconds=governed.rotation.interval_days * self._schedule.day_s)
        spread = min(interval, timedelta(seconds=SPREAD_DAYS * self._schedule.day_s))
        planned = account.status.get("nextCredentialRotation")
        return next_rotation(
            account.uid, versions, (interval, spread), parse_time(planned) if planned is not None else None, now
        )

    def make(self, account: Resource, version: int) -> NewSecret:
        """A fresh secret for the version, sealed: nobody has seen it."""
        return self._protect(account, version, self._path.sources.client_secret())

    def _governed(self, account: Resource) -> Governed:
        """The account under its policies; worked out once for the steps of one write, which all ask for it."""
        governance = self._governance()
        if self._last is None or self._last[0] is not account or self._last[1] is not governance:
            self._last = account, governance, govern(account, governance.policies, governance.catalogue)
        return self._last[2]

    def _effective(self, account: Resource, now: datetime) -> Mapping[str, Any]:
        catalogue, governed = self._governance().catalogue, self._governed(account)
        grant, rotation = governed.grant, governed.rotation
        methods = governed.methods_left
        audiences = grant.audiences or (catalogue.limits.default_audience,)
        decision = decide(
            governed, TokenAsk(grant.scopes, None), methods[0] if methods else "", catalogue, now.timestamp()
        )
        allowed = decision if isinstance(decision, Allowed) else None
        return {
            "scopes": list(allowed.scopes) if allowed else [],
            "audiences": [audience for audience in audiences if audience not in governed.audiences],
            "methods": list(methods),
            **({"accessTokenTTL": format_duration(allowed.ttl_s)} if allowed else {}),
            **({"maxTokensPerMinute": governed.rate.value} if governed.rate is not None else {}),
            "credentialRotation": {
                "enabled": rotation.enabled,
                "intervalDays": rotation.interval_days,
                "gracePeriodHours": rotation.grace_period_hours,
                **({"maxHoldHours": rotation.max_hold_hours} if rotation.max_hold_hours is not None else {}),
            },
            "policies": [policy.ref for policy in governed.reaching],
        }

    async def _locked(self, write: Write, namespace: str, name: str) -> Resource:
        account = await find(write.connection, SERVICE_ACCOUNT, namespace, name, lock="update")
        if account is None:
            raise not_found(SERVICE_ACCOUNT.kind, name)
        if not accepts_a_secret(account.spec):
            raise conflict(account.kind, name, "the account accepts no secret: it has no credentials to hand out")
        return account

    async def _save(
        self,
        write: Write,
        account: Resource,
        before: Versions,
        after: Versions,
        new: Mapping[int, NewSecret],
        note: Mapping[str, Any],
    ) -> bool:
        """Writes the versions and the account's new status; whether anything was written."""
        if after == before:
            return False
        await save_versions(write.connection, Rewritten(account.uid, before, after, new))
        await write.commit_one(account, self.stated(account, after, self._path.sources.now()), note)
        return True

    def _protect(self, account: Resource, version: int, plaintext: str) -> NewSecret:
        pepper_id, pepper = next(iter(self._peppers().items()))
        secret = plaintext.encode()
        sealed = self._master_key.seal(secret, purpose=SEAL_PURPOSE, owner=f"{account.uid}/{version}")
        return NewSecret(pepper_id, digest(pepper, secret, "sha256"), sealed)

    async def _unsealed(self, connection: Connection, account: Resource, version: int) -> str:
        sealed = await load_sealed(connection, account.uid, version)
        if sealed is None:
            raise SealError("is not kept, although it should be")
        return self._master_key.unseal(sealed, purpose=SEAL_PURPOSE, owner=f"{account.uid}/{version}").decode()

    @staticmethod
    def _handed_out(account: Resource, handover: Handover, plaintext: str, now: datetime) -> HandedOut:
        version = next(each for each in handover.versions if each.version == handover.version)
        return HandedOut(version.version, version.state_at(now), account.client_id, plaintext, version.created_at)

    async def _reread(self, account: Resource) -> Resource:
        async with self._path.database.transaction() as connection:
            found = await find(connection, SERVICE_ACCOUNT, account.namespace, account.name)
        if found is None:
            raise not_found(SERVICE_ACCOUNT.kind, account.name)
        return as_seen_at(found, self._path.sources.now())


@contextmanager
def _as_conflict(account: Resource) -> Iterator[None]:
    """A step the lifecycle refuses is a 409."""
    try:
        yield
    except LifecycleConflict as error:
        raise conflict(account.kind, account.name, str(error)) from None
