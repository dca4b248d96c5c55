"""What can be known before a deployment, in the order it becomes known: a later case is missing when an earlier one failed."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from issuer.checks.target import Target
from issuer.observe.exporting import Tracing
from issuer.settings import Settings, SettingsError
from issuer.signing.sealing import MasterKey, MasterKeyError
from issuer.store.database import DatabaseUnavailable
from issuer.store.facts import ServerFacts, StoredFacts


@dataclass(frozen=True, slots=True)
class Plan:
    """The deployment that is judged: so many `issuer serve`, each with so many processes that issue tokens."""

    replicas: int
    workers: int

    @property
    def processes(self) -> int:
        """Of all replicas together; each has one more, for administrators."""
        return self.replicas * (self.workers + 1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The attempt to load the settings; `variables` are the names of the environment, values stay where they are."""

    settings: Settings | SettingsError
    source: str
    variables: frozenset[str]


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A file that holds a key, and the mode it has."""

    what: str
    path: Path
    mode: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a setting names for `serve` to write into; `trouble`: why nobody can."""

    setting: str
    path: Path
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PortCertificate:
    """The certificate of a port: until when it is valid, or why it cannot be used."""

    port: str
    not_after: datetime | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """What the settings say and name, without the database."""

    settings: Settings
    master_key: MasterKey | MasterKeyError
    private_files: tuple[PrivateFile, ...]
    folders: tuple[Folder, ...]
    certificates: tuple[PortCertificate, ...]
    tracing: Tracing
    now: datetime


@dataclass(frozen=True, slots=True)
class Reached:
    """The attempt to reach the database. `target` None: the settings name no database."""

    target: Target | None
    outcome: ServerFacts | DatabaseUnavailable | None


@dataclass(frozen=True, slots=True)
class Connected:
    """A database that answers. `skew_s`: how far its clock is ahead of ours."""

    settings: Settings
    plan: Plan
    target: Target
    server: ServerFacts
    skew_s: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A database with a schema this program knows, and what stands in it."""

    settings: Settings
    master_key: MasterKey | None = field(repr=False)
    stored: StoredFacts
    now: datetime
