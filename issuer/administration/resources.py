"""create, replace, patch, delete: what the admin API does with objects of every kind.

Validate first, write last. An equal write changes nothing and takes no revision. What an object becomes is worked out on
plain values; the kinds differ only in `_born` and `_derived`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from issuer.administration.authorize import SYSTEM, Principal, authorize
from issuer.administration.effects import effect_of
from issuer.administration.keys import KeyKeeper, cannot_be_deleted
from issuer.administration.preconditions import Driver, Preconditions, check_driver, check_preconditions
from issuer.administration.secrets import SecretKeeper
from issuer.administration.writing import Write, WritePath
from issuer.model.conditions import Condition, merge_conditions
from issuer.model.faults import Cause, Fault, Reason, causes_of, conflict, invalid, not_found
from issuer.model.kinds import KEY_SET, KINDS, NAMESPACE, POLICY_KINDS, SERVICE_ACCOUNT, Kind, Manifest, parse_manifest
from issuer.model.mergepatch import merge_patch
from issuer.model.resource import GROUP, Resource
from issuer.model.scopes import SYSTEM_NAMESPACE
from issuer.model.serviceaccount import DRIVER_CONDITIONS, ISSUER_CONDITIONS, as_seen_at
from issuer.policy.ceilings import compile_policy
from issuer.protocol.authentication import METHOD_NAMES
from issuer.snapshot import Governance
from issuer.store.resources import (
    MAX_CHANGES,
    AlreadyExists,
    Change,
    contents_of_namespace,
    expired_accounts,
    find,
    list_of_kind,
)

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


class Resources:
    """Objects of all kinds, through the write path."""

    def __init__(
        self, path: WritePath, keeper: SecretKeeper, keys: KeyKeeper, governance: Callable[[], Governance]
    ) -> None:
        self._path = path
        self._keeper = keeper
        self._keys = keys
        self._governance = governance

    async def create(
        self, principal: Principal, kind: Kind, namespace: str, document: Any, *, dry_run: bool = False
    ) -> Resource:
        """The object as created. Raises Fault."""
        self._admit(principal, "create", kind, namespace, "")
        manifest = parse_manifest(kind, document, namespace=namespace, name=None, methods=METHOD_NAMES)
        if manifest.metadata.resource_version is not None:
            raise Fault(Reason.BAD_REQUEST, "metadata.resourceVersion must not be set on an object to be created")
        async with self._path.write(principal, "create", dry_run=dry_run) as write:
            await self._require_namespace(write, kind, namespace)
            if await find(write.connection, kind, namespace, manifest.metadata.name) is not None:
                raise _already_exists(kind, manifest.metadata.name)
            resource = self._born(manifest, namespace)
            if kind is SERVICE_ACCOUNT:
                resource = await self._keeper.equip(write, resource)
            elif kind is KEY_SET:
                resource = await self._keys.admitted(write, resource, None)
            return await self._commit(write, kind, None, resource)

    async def replace(
        self, principal: Principal, kind: Kind, namespace: str, name: str, document: Any, *, dry_run: bool = False
    ) -> Resource:
        """The object as `document` says, wholly; conditional when it carries a resourceVersion. Raises Fault."""
        self._admit(principal, "update", kind, namespace, name)
        manifest = parse_manifest(kind, document, namespace=namespace, name=name, methods=METHOD_NAMES)
        async with self._path.write(principal, "update", dry_run=dry_run) as write:
            before = await self._existing(write, kind, namespace, name)
            return await self._become(write, kind, before, manifest)

    async def patch(
        self, principal: Principal, kind: Kind, namespace: str, name: str, patch: Any, *, dry_run: bool = False
    ) -> Resource:
        """The object after a JSON merge patch, checked as a whole. Raises Fault."""
        self._admit(principal, "patch", kind, namespace, name)
        if not isinstance(patch, dict):
            raise Fault(Reason.BAD_REQUEST, "a merge patch must be a JSON object", kind=kind.kind, name=name)
        async with self._path.write(principal, "patch", dry_run=dry_run) as write:
            before = await self._existing(write, kind, namespace, name)
            if kind is SERVICE_ACCOUNT and _only_disables(patch):
                return await self._disabled(write, before)
            merged = merge_patch(before.to_document(), {key: value for key, value in patch.items() if key != "status"})
            manifest = parse_manifest(kind, merged, namespace=namespace, name=name, methods=METHOD_NAMES)
            return await self._become(write, kind, before, manifest)

    async def _disabled(self, write: Write, before: Resource) -> Resource:
        """The account disabled, whatever else its stored spec says: rules may have become stricter since it was written."""
        after = before
        if not before.spec["disabled"]:
            after = replace(before, spec={**before.spec, "disabled": True}, generation=before.generation + 1)
        after = await self._keeper.restate(write.connection, after)
        return self._as_read(SERVICE_ACCOUNT, await self._commit(write, SERVICE_ACCOUNT, before, after))

    async def delete(
        self,
        principal: Principal,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions,
        driver: Driver,
        dry_run: bool = False,
    ) -> Resource | None:
        """None when the object is gone; the object when it waits for its finalizers or contents. Raises Fault."""
        self._admit(principal, "delete", kind, namespace, name)
        if kind is NAMESPACE and name == SYSTEM_NAMESPACE:
            raise Fault(Reason.FORBIDDEN, f"{SYSTEM_NAMESPACE} holds the administrators and cannot be deleted")
        if kind is KEY_SET and (why := cannot_be_deleted(name)) is not None:
            raise Fault(Reason.FORBIDDEN, why, kind=kind.kind, name=name)
        async with self._path.write(principal, "delete", dry_run=dry_run) as write:
            before = await self._existing(write, kind, namespace, name)
            check_preconditions(before, preconditions)
            check_driver(before, driver)
            if kind in POLICY_KINDS and dry_run:
                return await self._with_effect(write, before, None)
            if kind not in {NAMESPACE, KEY_SET} and not before.finalizers:
                await write.commit(Change(before, None))
                return None
            if before.deleted_at is not None:
                return before
            ending = await self._ending(write, replace(before, deleted_at=self._path.sources.now()))
            if not _waits(ending):
                await write.commit(Change(before, None))
                return None
            return await self._commit(write, kind, before, ending)

    async def write_status(
        self, principal: Principal, namespace: str, name: str, document: Any, *, dry_run: bool = False
    ) -> Resource:
        """The account after its driver wrote its own conditions; conditions merge by type. Raises Fault.

        What the issuer owns may be sent along as it was read, and is refused when it was changed.
        """
        kind = SERVICE_ACCOUNT
        authorize(principal, "update", GROUP, kind.plural, namespace, name, "status")
        async with self._path.write(principal, "update status", dry_run=dry_run) as write:
            before = await self._existing(write, kind, namespace, name)
            metadata = document.get("metadata") if isinstance(document, dict) else None
            if metadata is not None and not isinstance(metadata, dict):
                # Whatever precondition was meant must not be lost.
                raise Fault(Reason.BAD_REQUEST, "metadata must be an object", kind=kind.kind, name=name)
            if metadata:
                check_preconditions(before, Preconditions(metadata.get("uid"), metadata.get("resourceVersion")))
            wanted = _driver_conditions(self._as_read(kind, before), document)
            conditions = merge_conditions(before.status["conditions"], wanted, self._path.sources.now())
            after = before.with_status({**before.status, "conditions": conditions})
            return self._as_read(kind, await self._commit(write, kind, before, after))

    async def empty_namespace(self, namespace: str) -> bool:
        """Removes a batch of a terminating namespace's contents, at last the namespace itself. Whether that was done."""
        async with self._path.write(SYSTEM, "delete") as write:
            before = await find(write.connection, NAMESPACE, "", namespace, lock="update")
            if before is None or before.deleted_at is None:
                return True
            contents = await contents_of_namespace(write.connection, namespace, MAX_CHANGES)
            now = self._path.sources.now()
            ending = [
                Change(each, await self._ending(write, replace(each, deleted_at=now)))
                if each.finalizers
                else Change(each, None)
                for each in contents
            ]
            if ending:
                await write.commit(*ending)
                return False
            if before.finalizers or await self._still_has_contents(write, namespace):
                return False
            await write.commit(Change(before, None))
            return True

    async def restate_expired(self) -> None:
        """Writes `Expired` into the status of accounts whose moment has come: watchers hear of it, tokens ended by then."""
        more = True
        while more:
            async with self._path.write(SYSTEM, "expire") as write:
                due = await expired_accounts(write.connection, self._path.sources.now(), MAX_CHANGES)
                restated = [Change(each, await self._keeper.restate(write.connection, each)) for each in due]
                if restated:
                    await write.commit(*restated)
            more = len(due) == MAX_CHANGES

    async def _ending(self, write: Write, resource: Resource) -> Resource:
        """An object marked as deleted, with the status that makes of it."""
        if resource.kind == NAMESPACE.kind:
            return resource.with_status({"phase": "Terminating"})
        if resource.kind == SERVICE_ACCOUNT.kind:
            return await self._keeper.restate(write.connection, resource)
        return await self._keys.ending(write, resource) if resource.kind == KEY_SET.kind else resource

    async def _still_has_contents(self, write: Write, namespace: str) -> bool:
        """Objects that wait for their finalizers, and those another transaction holds: the next batch looks again."""
        for kind in KINDS:
            if kind.namespaced and await list_of_kind(write.connection, kind, namespace, limit=1):
                return True
        return False

    def _admit(self, principal: Principal, verb: str, kind: Kind, namespace: str, name: str) -> None:
        authorize(principal, verb, GROUP, kind.plural, namespace, name)
        if not kind.writable:
            raise Fault(Reason.METHOD_NOT_ALLOWED, f"{kind.plural} are read-only here", kind=kind.kind, name=name)

    async def _existing(self, write: Write, kind: Kind, namespace: str, name: str) -> Resource:
        if kind is KEY_SET:
            await self._keys.lock(write)
        found = await find(write.connection, kind, namespace, name, lock="update")
        if found is None:
            raise not_found(kind.kind, name)
        return found

    async def _require_namespace(self, write: Write, kind: Kind, namespace: str) -> None:
        if not kind.namespaced:
            return
        found = await find(write.connection, NAMESPACE, "", namespace, lock="share")
        if found is None:
            raise not_found(NAMESPACE.kind, namespace)
        if found.deleted_at is not None:
            raise Fault(Reason.FORBIDDEN, f"namespace {namespace!r} is being deleted: nothing new can be created in it")

    def _born(self, manifest: Manifest, namespace: str) -> Resource:
        kind, metadata = manifest.kind, manifest.metadata
        resource = Resource(
            api_version=kind.api_version,
            kind=kind.kind,
            namespace=namespace,
            name=metadata.name,
            uid=self._path.sources.uid(),
            created_at=self._path.sources.now(),
            spec=manifest.spec,
        )
        born = _with_metadata(resource, manifest)
        return born.with_status({"phase": "Active"}) if kind is NAMESPACE else born

    async def _become(self, write: Write, kind: Kind, before: Resource, manifest: Manifest) -> Resource:
        metadata = manifest.metadata
        check_preconditions(before, Preconditions(metadata.uid, metadata.resource_version))
        causes = [
            Cause(f"spec.{field}", "FieldValueForbidden", "is immutable")
            for field in kind.immutable
            if manifest.spec.get(field) != before.spec.get(field)
        ]
        if before.deleted_at is not None and not set(metadata.finalizers) <= set(before.finalizers):
            causes.append(
                Cause(
                    "metadata.finalizers", "FieldValueForbidden", "no finalizer can be added to what is being deleted"
                )
            )
        if causes:
            raise invalid(kind.kind, before.name, causes)
        held = before.spec.get("managedBy")
        if held is not None and manifest.spec.get("managedBy") != held:
            raise conflict(
                kind.kind,
                before.name,
                f"managed by {held['cluster']}/{held['namespace']}/{held['name']}: a write must carry the same spec.managedBy",
            )
        after = _with_metadata(replace(before, spec=manifest.spec), manifest)
        if after.spec != before.spec:
            after = replace(after, generation=before.generation + 1)
        if after.deleted_at is not None and not _waits(after):
            await write.commit(Change(before, None))
            return after
        if kind is SERVICE_ACCOUNT:
            after = await self._keeper.restate(write.connection, after)
        elif kind is KEY_SET:
            after = await self._keys.admitted(write, after, before)
        return self._as_read(kind, await self._commit(write, kind, before, after))

    async def _commit(self, write: Write, kind: Kind, before: Resource | None, after: Resource) -> Resource:
        if write.dry_run and kind in POLICY_KINDS:
            return await self._with_effect(write, before, after)
        if before is not None and after.says_the_same_as(before):
            return before
        try:
            return await write.commit_one(before, after)
        except AlreadyExists as error:
            if error.field == "metadata.name":
                raise _already_exists(kind, after.name) from None
            cause = Cause(error.field, "FieldValueDuplicate", f"another {kind.kind} has this value")
            raise invalid(kind.kind, after.name, [cause]) from None

    async def _with_effect(self, write: Write, before: Resource | None, after: Resource | None) -> Resource:
        """A policy as it would be (or as it was, when it would go), with what that would do in its status."""
        governance = self._governance()
        was, wanted = (compile_policy(each) if each is not None else None for each in (before, after))
        changed = tuple(each for each in (was, wanted) if each is not None)
        policies = governance.policies.changed(without=[each.ref for each in changed], plus=[wanted] if wanted else [])
        effect = await effect_of(
            write.connection,
            governance.policies,
            policies,
            changed,
            governance.catalogue,
            self._path.sources.now().timestamp(),
            self._path.sources.elapsed_s,
        )
        subject = after or before
        if subject is None:
            raise ValueError("an effect of nothing")
        return subject.with_status({**subject.status, "effect": effect.to_json()})

    def _as_read(self, kind: Kind, resource: Resource) -> Resource:
        return as_seen_at(resource, self._path.sources.now()) if kind is SERVICE_ACCOUNT else resource


def _only_disables(patch: Mapping[str, Any]) -> bool:
    """The responder's patch, which is always allowed (DESIGN section 3)."""
    return patch == {"spec": {"disabled": True}}


def _waits(deleted: Resource) -> bool:
    """Whether a deleted object stays for now: for its finalizers, its contents, the tokens its keys signed."""
    return bool(deleted.finalizers) or deleted.kind == NAMESPACE.kind or bool(deleted.status.get("keys"))


def _already_exists(kind: Kind, name: str) -> Fault:
    return Fault(Reason.ALREADY_EXISTS, f"{kind.kind} {name!r} already exists", kind=kind.kind, name=name)


def _with_metadata(resource: Resource, manifest: Manifest) -> Resource:
    metadata = manifest.metadata
    labels = dict(metadata.labels)
    if manifest.kind is NAMESPACE:
        labels[NAMESPACE_LABEL] = resource.name
    return replace(
        resource,
        labels=labels,
        annotations=dict(metadata.annotations),
        owner_references=tuple(reference.to_json() for reference in metadata.owner_references),
        finalizers=tuple(metadata.finalizers),
    )


def _driver_conditions(before: Resource, document: Any) -> list[Mapping[str, Any]]:
    """The conditions a status write wants to change in `before`, as it is read. Raises Fault naming every one it may not."""
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, dict):
        raise Fault(Reason.BAD_REQUEST, "the body must carry a status object", kind=before.kind, name=before.name)
    causes = [
        Cause(f"status.{field}", "FieldValueForbidden", "is owned by the issuer")
        for field, value in status.items()
        if field not in {"conditions", "credentials", "effective", "lastUsed"} and value != before.status.get(field)
    ]
    listed = status.get("conditions", [])
    if not isinstance(listed, list):
        raise invalid(before.kind, before.name, [Cause("status.conditions", "FieldValueTypeInvalid", "must be a list")])
    current = {condition["type"]: condition for condition in before.status["conditions"]}
    wanted: dict[str, Mapping[str, Any]] = {}
    for index, raw in enumerate(listed):
        path = f"status.conditions[{index}]"
        try:
            condition = Condition.model_validate(raw).model_dump(mode="json", by_alias=True, exclude_none=True)
        except ValidationError as error:
            causes += causes_of(error, path)
            continue
        if condition["type"] in wanted:
            causes.append(Cause(f"{path}.type", "FieldValueDuplicate", "stands there twice"))
        elif condition["type"] in DRIVER_CONDITIONS:
            wanted[condition["type"]] = condition
        elif condition["type"] not in ISSUER_CONDITIONS:
            owned = ", ".join(sorted(DRIVER_CONDITIONS))
            causes.append(Cause(f"{path}.type", "FieldValueForbidden", f"is no driver's; a driver owns {owned}"))
        elif condition != current.get(condition["type"]):
            causes.append(Cause(f"{path}.type", "FieldValueForbidden", "is owned by the issuer"))
    if causes:
        raise invalid(before.kind, before.name, causes)
    return list(wanted.values())
