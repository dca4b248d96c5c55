"""Rows become the snapshot the token path reads: what is sealed is opened, what is written becomes rules, once."""

from types import MappingProxyType

from issuer.administration.bootstrap import KEY_PURPOSE, PEPPER_PURPOSE
from issuer.policy.catalogue import Catalogue, Limits, compile_scope
from issuer.policy.ceilings import compile_policy, index_policies
from issuer.settings import ScheduleSettings
from issuer.signing.keyring import KeyRecord, active_key, published_keys
from issuer.signing.sealing import MasterKey
from issuer.signing.signer import Signer
from issuer.snapshot import Governance, Snapshot
from issuer.sources import Sources
from issuer.store.world import WorldRows


class Compiler:
    """Rows become what the token path reads. Opens what is sealed; a signer is made once for each key."""

    def __init__(self, master_key: MasterKey, limits: Limits, schedule: ScheduleSettings, sources: Sources) -> None:
        self.master_key = master_key
        self._limits = limits
        self._schedule = schedule
        self._sources = sources
        self._signers: dict[str, Signer] = {}
        self._governance: Governance | None = None
        self._made_of: object = None

    def snapshot(self, rows: WorldRows) -> Snapshot:
        """The snapshot of these rows. Raises SealError."""
        now = self._sources.now()
        sealed = {key.record.kid: key.sealed for key in rows.keys}
        records = [key.record for key in rows.keys]
        signers = {}
        for keyset in rows.keysets:
            active = active_key([record for record in records if record.keyset == keyset.name], now)
            if active is not None:
                signers[keyset.name] = self._signer(active, sealed[active.kid])
        self._signers = {signer.kid: signer for signer in signers.values()}
        return Snapshot(
            revision=rows.revision,
            governance=self._governance_of(rows),
            signers=MappingProxyType(signers),
            keyset_by_audience=MappingProxyType(
                {
                    audience: keyset.name
                    for keyset in rows.keysets
                    if keyset.name in signers
                    for audience in keyset.spec["audiences"]
                }
            ),
            published=MappingProxyType({record.kid: record.public_jwk for record in published_keys(records, now)}),
            terminating=rows.terminating,
            peppers=MappingProxyType(
                {
                    pepper_id: self.master_key.unseal(blob, purpose=PEPPER_PURPOSE, owner=pepper_id)
                    for pepper_id, blob in rows.peppers
                }
            ),
        )

    def forget(self) -> None:
        """Nothing made before is taken again: of another history, the same revision of an object may be another write."""
        self._governance = None

    def _governance_of(self, rows: WorldRows) -> Governance:
        """The same object as before while nothing it is made of has changed: accounts stay compiled."""
        made_of = (
            tuple((each.uid, each.revision) for each in (*rows.scopes, *rows.policies)),
            rows.namespace_labels,
        )
        if self._governance is None or made_of != self._made_of:
            scopes = {scope.spec["scope"]: compile_scope(scope.name, scope.spec) for scope in rows.scopes}
            self._governance = Governance(
                Catalogue(self._limits, MappingProxyType(scopes)),
                index_policies(map(compile_policy, rows.policies), rows.namespace_labels),
                self._schedule.hour_s,
            )
            self._made_of = made_of
        return self._governance

    def _signer(self, record: KeyRecord, sealed: bytes) -> Signer:
        known = self._signers.get(record.kid)
        if known is not None:
            return known
        pem = self.master_key.unseal(sealed, purpose=KEY_PURPOSE, owner=record.kid)
        return Signer(record.kid, record.algorithm, pem)
