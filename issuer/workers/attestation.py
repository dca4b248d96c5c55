"""What shows later that nobody touched the record, at work: seals, checkpoints, and the days that come and go."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from issuer.administration.auditkeys import AuditKeys
from issuer.administration.checkpoints import Checkpoints
from issuer.administration.seals import AdminSeals
from issuer.events import Emit
from issuer.settings import Settings
from issuer.store.clock import Clock
from issuer.store.database import Database
from issuer.store.days import Days
from issuer.workers.housekeeping import Housekeeping
from issuer.workers.retention import Retention


@dataclass(frozen=True, slots=True)
class Attestation:
    """Its parts, each of which any replica may run, and one at a time does."""

    seals: AdminSeals
    checkpoints: Checkpoints
    retention: Retention

    async def attest(self) -> None:
        """All that is recorded by now is sealed and signed. Raises DatabaseUnavailable."""
        await self.seals.seal()
        await self.checkpoints.sign()

    def workers(self, chores: Housekeeping) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """What runs beside the admin port."""
        return (
            chores.every(1, "seals", self.seals.seal),
            chores.every(60, "checkpoints", self.checkpoints.sign),
            chores.every(60, "days of the record", self.retention.keep_days),
            chores.every(3600, "administrative records", self.retention.drop_admin_records),
        )


def attestation(
    url: str, database: Database, keys: AuditKeys, settings: Settings, clock: Clock, emit: Emit
) -> Attestation:
    """The parts, connected. `url`: of the database, for the one connection that sees to the days."""
    checkpoints = Checkpoints(database, keys, settings.audit, clock, emit)

    def alone() -> AbstractAsyncContextManager[Days | None]:
        return Days.alone(url, settings.database)

    retention = Retention(alone, database, checkpoints, settings.audit, clock, emit)
    return Attestation(AdminSeals(database, keys), checkpoints, retention)
