"""Settings: environment and file become one frozen value, checked once, at start.

The environment wins over the file. A setting called `outage.max_s` in the YAML file is `ISSUER_OUTAGE__MAX_S` in the
environment. Units are part of a name: `_s` seconds, `_bytes` bytes.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from issuer.manifests import ManifestError, parse_documents
from issuer.model.mergepatch import merge_patch
from issuer.model.scopes import ADMIN_AUDIENCE

# `urlsplit` forgives white space and control characters; what stands in every token must not need forgiveness.
_PLAIN_URL = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.ASCII)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingsError(Exception):
    """The settings cannot be used; the message names every fault and where it was read."""


def _issuer_url(value: str) -> str:
    """The URL as it will stand in `iss`, byte for byte (RFC 8414 section 2): no normalisation here or later."""
    if not _PLAIN_URL.fullmatch(value):
        raise ValueError("must be an absolute https URL, in lower case up to the host, without spaces")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("has no usable port") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("must be an absolute https URL")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be https; plain http is accepted for a loopback host only")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("must have no query and no fragment")
    if parts.username is not None:
        raise ValueError("must carry no credentials")
    if value.endswith("/"):
        raise ValueError("must not end with a slash")
    return value


def _default_audience(value: str) -> str:
    if value == ADMIN_AUDIENCE:
        raise ValueError("must not be the audience of the admin API")
    return value


def _networks(value: Any) -> Any:
    """Networks as people write them: a list, or in one text with commas between them."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(
        isinstance(part, str | IPv4Network | IPv6Network) for part in parts
    ):
        raise ValueError("must be networks such as 10.0.0.0/8, 2001:db8::/48")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or a network such as 10.0.0.0/8") from None
    if "/" in text and str(network.network_address) != str(ip_address(text.partition("/")[0])):
        raise ValueError(f"{text} is an address within {network}; write the one or the other")
    if network.prefixlen == 0:
        raise ValueError(f"{network} is everybody: then every client could choose the address it is counted under")
    return network


_Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


def _database_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return value


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeysSettings(_Group):
    """How signing keys are published: how long before their first use, and how long after their last."""

    jwks_max_age_s: int = Field(default=300, ge=1, le=86_400, description="`Cache-Control: max-age` of the JWKS")
    verifier_refresh_s: float = Field(
        default=600, ge=0, le=86_400, description="longest a verifier waits before it looks for a key it does not know"
    )
    skew_s: float = Field(default=300, ge=0, le=86_400, description="how far verifiers' clocks may be behind")


class TokensSettings(_Group):
    """Lifetimes of tokens."""

    default_ttl_s: int = Field(default=600, ge=10, le=86_400, description="lifetime where the account names none")
    max_ttl_s: int = Field(default=86_400, ge=10, le=86_400, description="no token lives longer, whatever anyone asks")


class ScheduleSettings(_Group):
    """How long a resource's day and hour last: tests accelerate time by configuration, not by hooks."""

    day_s: float = Field(default=86_400, gt=0, description="seconds in a day of `intervalDays`")
    hour_s: float = Field(default=3_600, gt=0, description="seconds in an hour of `gracePeriodHours`")


class DatabaseSettings(_Group):
    """How PostgreSQL is used."""

    pool_size: int = Field(
        default=10,
        ge=1,
        le=200,
        description="connections in each pool of a process, at most; following the database takes two more",
    )
    pool_timeout_s: float = Field(default=2, gt=0, description="wait for a free connection; then 503")
    statement_timeout_s: float = Field(default=5, gt=0, description="longest statement; then 503")
    poll_s: float = Field(
        default=0.25, gt=0, le=1, description="how often the revision is read: the bound on staleness"
    )


class DirectorySettings(_Group):
    """What the token path keeps in memory."""

    max_accounts: int = Field(
        default=100_000, ge=1, description="accounts kept in memory; least recently used go first"
    )


class OutageSettings(_Group):
    """What happens while the database is away."""

    max_s: float = Field(
        default=300, gt=0, description="how long known accounts go on being served from memory; then 503"
    )


class AuditSettings(_Group):
    """The record of what was decided."""

    on_outage: Literal["refuse", "spool"] = Field(
        default="refuse",
        description="what tokens do while their record cannot be committed: 503, or leave by way of `spool_dir`",
    )
    spool_dir: Path | None = Field(
        default=None,
        validate_default=True,
        description="a persistent directory of this machine's own, for `on_outage: spool`",
    )
    keep_decisions_days: int = Field(
        default=30,
        ge=1,
        le=3_650,
        description="days that decisions stay in the database, once there is an `export_dir`",
    )
    export_dir: Path | None = Field(
        default=None, description="where each day of decisions is written before it is dropped; without it none is"
    )
    keep_admin_days: int = Field(
        default=400, ge=1, le=3_650, description="days that records of what administrators did stay in the database"
    )
    keep_usage_days: int = Field(
        default=400, ge=1, le=36_500, description="days for which it is known how each account and credential was used"
    )

    @field_validator("spool_dir")
    @classmethod
    def _a_spool_has_its_place(cls, folder: Path | None, info: ValidationInfo) -> Path | None:
        if folder is None and info.data.get("on_outage") == "spool":
            raise ValueError("audit.on_outage spool wants a directory that outlives this process")
        return folder


class LogSettings(_Group):
    """The reading of events as log lines, on standard error."""

    format: Literal["json", "console"] = Field(default="json", description="`json` for machines, `console` for people")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level written; single tokens issued are `debug`"
    )


class Settings(BaseSettings):
    """Everything configurable, frozen. The README's table is tested against this class."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="ISSUER_", env_nested_delimiter="__", env_ignore_empty=True
    )

    url: Annotated[str, AfterValidator(_issuer_url)] | None = Field(
        default=None, description="the issuer URL, exactly as in `iss`; https, no trailing slash"
    )
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        default=None, description="PostgreSQL 15 or later, `postgresql://user:password@host/database`"
    )
    master_key: SecretStr | None = Field(
        default=None, description="lines of `id:base64(32 bytes)`; the first is current, all can unwrap"
    )
    master_key_file: Path | None = Field(
        default=None, description="a file with the same lines, instead of `master_key`"
    )
    default_audience: Annotated[str, AfterValidator(_default_audience)] | None = Field(
        default=None, min_length=1, max_length=512, description="`aud` of accounts that name no audiences; else the URL"
    )
    admin_plaintext: bool = Field(
        default=False, description="lets `serve` open the admin port without TLS on an address that is not loopback"
    )
    drain_delay_s: float = Field(
        default=5, ge=0, le=300, description="how long `serve` goes on after SIGTERM, not ready, until nobody comes"
    )
    max_connections: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="connections each process holds on a port; for one more, the longest idle one is closed",
    )
    public_certificate_file: Path | None = Field(
        default=None,
        description="PEM chain of the public port's own TLS; read again when it changes, without a restart",
    )
    public_key_file: Path | None = Field(default=None, description="PEM private key of that chain, not encrypted")
    admin_certificate_file: Path | None = Field(default=None, description="the same for the admin port")
    admin_key_file: Path | None = Field(default=None, description="PEM private key of that chain, not encrypted")
    trusted_proxies: Annotated[tuple[_Network, ...] | None, NoDecode, BeforeValidator(_networks)] = Field(
        default=None,
        description="networks of proxies in front of the public port; their `X-Forwarded-For` says who is counted",
    )
    keys: KeysSettings = KeysSettings()
    tokens: TokensSettings = TokensSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    database: DatabaseSettings = DatabaseSettings()
    directory: DirectorySettings = DirectorySettings()
    outage: OutageSettings = OutageSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()

    @field_validator("public_key_file", "admin_key_file")
    @classmethod
    def _certificates_have_keys(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = str(info.field_name).replace("_key_", "_certificate_")
        if certificate in info.data and (key is None) != (info.data[certificate] is None):
            raise ValueError(f"belongs together with {certificate}; one of them is not set")
        return key

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """The settings of this process. Raises SettingsError naming every fault at once.

    `overrides` are defaults a command brings along (`issuer dev`); file and environment win over them.
    """
    values = merge_patch(overrides, _read_file(config) if config is not None else {})
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc'])}: {_sentence(fault)}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        source = f"the environment (ISSUER_…) and {config}" if config else "the environment (ISSUER_…)"
        raise SettingsError(f"These settings, read from {source}, cannot be used:\n{faults}") from None


def _sentence(fault: ErrorDetails) -> str:
    return (
        "there is no such setting" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        documents = parse_documents(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ManifestError) as error:
        raise SettingsError(f"The configuration file {path} cannot be read: {error}") from None
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0], dict):
        raise SettingsError(f"The configuration file {path} must hold one YAML mapping of settings.")
    return documents[0]
