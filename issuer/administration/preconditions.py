"""What must still be true of an object for a write to happen: 409 with a word on what to do, never a lost update."""

from dataclasses import dataclass

from issuer.model.faults import conflict
from issuer.model.resource import Resource


@dataclass(frozen=True, slots=True)
class Preconditions:
    """Kubernetes `Preconditions`: this very object, in this very state. Absent: not asked."""

    uid: str | None = None
    resource_version: str | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """What a driver says of itself on requests without a manifest: `?managedBy=<uid>` or `?force=true`."""

    managed_by: str | None = None
    force: bool = False


def check_preconditions(before: Resource, preconditions: Preconditions) -> None:
    """Raises Fault (409) unless they hold."""
    if preconditions.uid is not None and preconditions.uid != str(before.uid):
        raise conflict(
            before.kind,
            before.name,
            f"the uid is {before.uid}, not {preconditions.uid}: another object has the name now",
        )
    wanted = preconditions.resource_version
    if wanted is not None and wanted != str(before.revision):
        raise conflict(
            before.kind,
            before.name,
            f"the object was changed meanwhile: it is at resourceVersion {before.revision}, not {wanted}; read it again "
            "and repeat the change",
        )


def check_driver(resource: Resource, driver: Driver) -> None:
    """Raises Fault (409) when the object is another driver's and nobody says so."""
    held = resource.spec.get("managedBy")
    if held is None or driver.force or driver.managed_by == held["uid"]:
        return
    raise conflict(
        resource.kind,
        resource.name,
        f"managed by {held['cluster']}/{held['namespace']}/{held['name']}: say ?managedBy={held['uid']} or ?force=true",
    )
