"""First start: what must exist before anyone can ask for anything, in one transaction, under the counter's lock.

Run again it changes nothing. `recover` lets an operator beside the database back in when no administrator can.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from issuer.administration.authorize import Principal
from issuer.administration.keysets import restated, ring_of
from issuer.administration.secrets import HandedOut, HandOutRequest, SecretKeeper
from issuer.administration.writing import Write, WritePath
from issuer.events import Bootstrapped
from issuer.model.keyset import DEFAULT_KEYSET, ID_TOKEN_KEYSET
from issuer.model.kinds import CLUSTER_AUTH_POLICY, KEY_SET, NAMESPACE, SERVICE_ACCOUNT, Manifest, parse_manifest
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.policy.catalogue import Catalogue, Limits
from issuer.policy.ceilings import compile_policy, index_policies
from issuer.policy.decide import Allowed, decide
from issuer.policy.governed import Governed, govern
from issuer.protocol.authentication import METHOD_NAMES
from issuer.protocol.authentication.client_secret import BASIC
from issuer.protocol.grants import TokenAsk
from issuer.settings import ScheduleSettings
from issuer.signing.keyring import KeyRecord
from issuer.signing.lifecycle import KeyTiming, with_lifetimes
from issuer.signing.sealing import MasterKey
from issuer.signing.signer import GeneratedKey, generate_key
from issuer.snapshot import Governance
from issuer.store.clock import Clock
from issuer.store.installation import lock_installation, write_master_key_check
from issuer.store.keys import StoredKey, insert_key
from issuer.store.resources import Change, find, list_of_kind
from issuer.store.secrets import insert_pepper, load_peppers

ADMIN_NAME = "admin"
MAX_POLICIES = 10_000
KEY_PURPOSE = "signing-key"
PEPPER_PURPOSE = "pepper"
FIRST_KEYSETS: Mapping[str, str] = {DEFAULT_KEYSET: "ES256", ID_TOKEN_KEYSET: "RS256"}

_ADMIN_SPEC: Mapping[str, Any] = {
    "displayName": "Administrator",
    "justification": "The first administrator, made by issuer bootstrap",
    "usage": "administration",
    "scopes": [ADMIN_SCOPE],
    "audiences": [ADMIN_AUDIENCE],
}


@dataclass(frozen=True, slots=True)
class FirstStart:
    """Brings a migrated database to its first start. `local` is the command line that asks for it.

    `clock` is the database's: the schedules of the first keys begin here.
    """

    path: WritePath
    master_key: MasterKey
    schedule: ScheduleSettings
    limits: Limits
    timing: KeyTiming
    local: Principal
    clock: Clock
    _generated: dict[str, list[GeneratedKey]] = field(default_factory=dict, repr=False)

    async def bootstrap(self) -> HandedOut | None:
        """The administrator's first credential, or None when everything is there already. Raises MasterKeyError."""
        for keyset, algorithm in FIRST_KEYSETS.items():
            # Made before the lock is taken: an RSA key takes its time.
            self._generated[keyset] = [generate_key(algorithm), generate_key(algorithm)]
        async with self.path.write(self.local, "bootstrap") as write:
            check = await lock_installation(write.connection)
            if check is not None:
                self.master_key.check(check)
                return None
            await write_master_key_check(write.connection, self.master_key.check_blob())
            keeper = self._keeper(await self._first_pepper(write))
            namespace = self._new(NAMESPACE, "", {"metadata": {"name": SYSTEM_NAMESPACE}})
            namespace = namespace.with_status({"phase": "Active"})
            keysets = [await self._first_keyset(write, name, algorithm) for name, algorithm in FIRST_KEYSETS.items()]
            await write.commit(Change(None, namespace), *(Change(None, keyset) for keyset in keysets))
            admin = await write.commit_one(None, await keeper.equip(write, self._new_admin()))
            credential = await keeper.rotate(write, admin, HandOutRequest(acknowledge=True))
        self.path.emit(Bootstrapped(recovered=False))
        return credential

    async def recover(self) -> HandedOut:
        """A new credential for the administrator, able to administer again, made anew if it was deleted.

        Raises MasterKeyError, NotBootstrapped.
        """
        async with self.path.write(self.local, "recover") as write:
            check = await lock_installation(write.connection)
            if check is None:
                raise NotBootstrapped
            self.master_key.check(check)
            sealed = dict(await load_peppers(write.connection))
            peppers = {
                pepper_id: self.master_key.unseal(blob, purpose=PEPPER_PURPOSE, owner=pepper_id)
                for pepper_id, blob in sealed.items()
            }
            keeper = self._keeper(peppers)
            admin = await find(write.connection, SERVICE_ACCOUNT, SYSTEM_NAMESPACE, ADMIN_NAME, lock="update")
            if admin is not None and admin.deleted_at is not None:
                await write.commit(Change(admin, None))
                admin = None
            if admin is None:
                admin = await write.commit_one(None, await keeper.equip(write, self._new_admin()))
            elif (spec := _able(admin.spec)) != admin.spec:
                enabled = replace(admin, spec=spec, generation=admin.generation + 1)
                admin = await write.commit_one(admin, await keeper.restate(write.connection, enabled))
            await self._clear_lockout(write, admin)
            credential = await keeper.rotate(write, admin, HandOutRequest(acknowledge=True, compromised=True))
        self.path.emit(Bootstrapped(recovered=True))
        return credential

    async def _clear_lockout(self, write: Write, admin: Resource) -> None:
        """Policies that keep the administrator from its token lose `appliesToSystem`, recorded like any other write."""
        stored = await list_of_kind(write.connection, CLUSTER_AUTH_POLICY, None, limit=MAX_POLICIES)
        reaching = [each for each in stored if each.spec["appliesToSystem"]]
        catalogue, now = Catalogue(self.limits), self.path.sources.now().timestamp()
        namespace = await find(write.connection, NAMESPACE, "", SYSTEM_NAMESPACE)
        labels = {SYSTEM_NAMESPACE: namespace.labels} if namespace is not None else {}
        governed = govern(admin, index_policies(map(compile_policy, reaching), labels), catalogue)
        if may_administer(governed, BASIC, catalogue, now):
            return
        for policy in reaching:
            spec = {**policy.spec, "appliesToSystem": False}
            await write.commit_one(policy, replace(policy, spec=spec, generation=policy.generation + 1))

    def _keeper(self, peppers: Mapping[str, bytes]) -> SecretKeeper:
        governance = Governance(Catalogue(self.limits), hour_s=self.schedule.hour_s)
        return SecretKeeper(self.path, self.master_key, self.schedule, lambda: peppers, lambda: governance)

    async def _first_pepper(self, write: Write) -> Mapping[str, bytes]:
        pepper_id, pepper = "p1", self.path.sources.random_bytes(32)
        sealed = self.master_key.seal(pepper, purpose=PEPPER_PURPOSE, owner=pepper_id)
        await insert_pepper(write.connection, pepper_id, self.path.sources.now(), sealed)
        return {pepper_id: pepper}

    async def _first_keyset(self, write: Write, name: str, algorithm: str) -> Resource:
        """The KeySet with an active key and a published pending one: the very first keys skip the publication lead."""
        now = await self.clock(write.connection)
        keys = with_lifetimes(
            [
                KeyRecord(
                    kid=generated.kid,
                    keyset=name,
                    algorithm=algorithm,
                    public_jwk=generated.public_jwk,
                    created_at=now,
                    published_at=now,
                    activated_at=activated_at,
                )
                for generated, activated_at in zip(self._generated[name], (now, None), strict=True)
            ],
            now,
            self.timing,
        )
        for key, generated in zip(keys, self._generated[name], strict=True):
            sealed = self.master_key.seal(generated.private_pem, purpose=KEY_PURPOSE, owner=key.kid)
            await insert_key(write.connection, StoredKey(key, sealed))
        keyset = self._new(KEY_SET, "", {"metadata": {"name": name}, "spec": {"algorithm": algorithm}})
        return restated(ring_of(keyset, keys, now, self.timing))

    def _new_admin(self) -> Resource:
        return self._new(
            SERVICE_ACCOUNT, SYSTEM_NAMESPACE, {"metadata": {"name": ADMIN_NAME}, "spec": dict(_ADMIN_SPEC)}
        )

    def _new(self, kind: Any, namespace: str, document: Mapping[str, Any]) -> Resource:
        manifest: Manifest = parse_manifest(kind, dict(document), namespace=namespace, name=None, methods=METHOD_NAMES)
        return Resource(
            api_version=kind.api_version,
            kind=kind.kind,
            namespace=namespace,
            name=manifest.metadata.name,
            uid=self.path.sources.uid(),
            created_at=self.path.sources.now(),
            spec=manifest.spec,
        )


def may_administer(governed: Governed, method: str, catalogue: Catalogue, now: float) -> bool:
    """Whether a good credential, presented by this method, gets a token that may do everything over the admin API."""
    ask = TokenAsk((ADMIN_SCOPE,), ADMIN_AUDIENCE)
    return isinstance(decide(governed, ask, method, catalogue, now), Allowed)


def _able(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The administrator's spec with nothing in it that keeps it from administering."""
    able = {key: value for key, value in spec.items() if key not in {"expiresAt", "defaultScopes"}}
    able["disabled"] = False
    methods = able["authentication"]["methods"]
    able["authentication"] = {"methods": methods if BASIC in methods else [BASIC, *methods]}
    for name, needed in (("scopes", ADMIN_SCOPE), ("audiences", ADMIN_AUDIENCE)):
        held = list(able.get(name, ()))
        able[name] = held if needed in held else [needed, *held]
    return able


class NotBootstrapped(Exception):
    """The database was never bootstrapped: there is nothing to recover."""

    def __init__(self) -> None:
        super().__init__("This database was not bootstrapped yet. Run `issuer bootstrap` first.")
