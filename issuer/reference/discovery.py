"""What kinds there are, for clients that ask: the discovery documents of the Kubernetes API, from the tables.

Source: Kubernetes API concepts, "Discovery API", the unaggregated form. kubectl, client-go and the dynamic clients of other
languages read these before anything else.
"""

from collections.abc import Iterable, Iterator

from issuer.administration.decisions import DECISION_RECORD
from issuer.administration.records import AUDIT_RECORD
from issuer.administration.usage import REFUSAL_COUNT
from issuer.model.kinds import KINDS, Kind
from issuer.model.resource import API_VERSION, GROUP, VERSION
from issuer.model.status import Shown
from issuer.reference.operation import Operation
from issuer.reference.operations import operations_of
from issuer.reference.records import AUDIT, DECISIONS, REFUSALS


class APIVersions(Shown):
    """Versions of the core API."""

    kind: str = "APIVersions"
    """The kind."""
    versions: list[str]
    """`v1`: namespaces."""


class GroupVersion(Shown):
    """One version of a group."""

    group_version: str
    """As in `apiVersion`."""
    version: str
    """Without the group."""


class APIGroup(Shown):
    """A group and its versions."""

    kind: str = "APIGroup"
    """The kind."""
    api_version: str = "v1"
    """Of this document."""
    name: str
    """The group's name."""
    versions: list[GroupVersion]
    """Every version."""
    preferred_version: GroupVersion
    """The one to use."""


class APIGroupList(Shown):
    """Every group."""

    kind: str = "APIGroupList"
    """The kind."""
    api_version: str = "v1"
    """Of this document."""
    groups: list[APIGroup]
    """All but the core API."""


class APIResource(Shown):
    """A kind or a sub-resource."""

    name: str
    """The plural, with the sub-resource behind a slash."""
    singular_name: str
    """Its name for one."""
    namespaced: bool
    """Whether its objects stand in namespaces."""
    kind: str
    """The kind of its objects."""
    verbs: list[str]
    """What can be done with it."""
    short_names: list[str] | None = None
    """What people may type instead."""


class APIResourceList(Shown):
    """The kinds of one group and version."""

    kind: str = "APIResourceList"
    """The kind."""
    api_version: str = "v1"
    """Of this document."""
    group_version: str
    """The group and version."""
    resources: list[APIResource]
    """Kinds and sub-resources."""


class VersionInfo(Shown):
    """The version of this issuer, in the words of Kubernetes clients."""

    major: str
    """Of the version."""
    minor: str
    """Of the version."""
    git_version: str
    """The whole version."""


def core_versions() -> APIVersions:
    """`/api`."""
    return APIVersions(versions=["v1"])


def group() -> APIGroup:
    """`/apis/{group}`."""
    version = GroupVersion(group_version=API_VERSION, version=VERSION)
    return APIGroup(name=GROUP, versions=[version], preferred_version=version)


def groups() -> APIGroupList:
    """`/apis`."""
    return APIGroupList(groups=[group()])


def resources(api_version: str) -> APIResourceList:
    """`/api/v1` and `/apis/{group}/{version}`."""
    tables = [(kind, operations_of(kind)) for kind in KINDS] + [
        (AUDIT_RECORD, AUDIT),
        (DECISION_RECORD, DECISIONS),
        (REFUSAL_COUNT, (REFUSALS,)),
    ]
    found = [each for kind, table in tables if kind.api_version == api_version for each in _resources_of(kind, table)]
    return APIResourceList(group_version=api_version, resources=found)


def version_info(version: str) -> VersionInfo:
    """`/version`."""
    major, minor, *_ = version.split(".")
    return VersionInfo(major=major, minor=minor, git_version=f"v{version}")


def _resources_of(kind: Kind, table: tuple[Operation, ...]) -> Iterator[APIResource]:
    for subresource in dict.fromkeys(each.subresource for each in table):
        yield APIResource(
            name=f"{kind.plural}/{subresource}" if subresource else kind.plural,
            singular_name="" if subresource else kind.kind.lower(),
            namespaced=kind.namespaced,
            kind=kind.kind,
            verbs=_verbs(each for each in table if each.subresource == subresource),
            short_names=list(kind.short) if kind.short and not subresource else None,
        )


def _verbs(table: Iterable[Operation]) -> list[str]:
    # A watch is a list that goes on.
    return sorted({verb for each in table for verb in (each.verb, *({"watch"} & set(each.query)))})
