"""The facts `issuer check` judges: settings, the files they name, the database. Nothing is changed; a failure is a fact too."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from cryptography import x509

from issuer.checks.cases import (
    Configured,
    Connected,
    Folder,
    Loaded,
    Plan,
    PortCertificate,
    PrivateFile,
    Reached,
    Stored,
)
from issuer.checks.configuration import EXPORT_DIR, SPOOL_DIR
from issuer.checks.target import Target, target_of
from issuer.credentials import UNDELIVERED_DAYS
from issuer.observe.exporting import tracing
from issuer.settings import AuditSettings, Settings, SettingsError, load_settings
from issuer.signing.sealing import MasterKey, MasterKeyError, load_master_key
from issuer.sources import Sources
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.facts import ServerFacts, read_clock, read_server, read_stored
from issuer.store.schema import newest_version
from issuer.web.tls import Certificate, CertificateError

Case: TypeAlias = Loaded | Configured | Reached | Connected | Stored


async def gather(config: Path | None, plan: Plan, sources: Sources) -> list[Case]:
    """Every case that can be known now."""
    source = f"the environment and {config}" if config else "the environment"
    variables = frozenset(os.environ)
    try:
        settings = load_settings(config)
    except SettingsError as error:
        return [Loaded(error, source, variables)]
    configured = _configured(settings, sources.now())
    cases: list[Case] = [Loaded(settings, source, variables), configured]
    if settings.database_url is None:
        return [*cases, Reached(None, None)]
    url = settings.database_url.get_secret_value()
    database = Database(url, settings.database, application="issuer check")
    try:
        cases += await _of_database(database, configured, plan, target_of(url, os.environ), sources)
    finally:
        await database.close()
    return cases


def _configured(settings: Settings, now: datetime) -> Configured:
    certificates = (
        _certificate("public", settings.public_certificate_file, settings.public_key_file),
        _certificate("admin", settings.admin_certificate_file, settings.admin_key_file),
    )
    return Configured(
        settings,
        _master_key(settings),
        tuple(_private_files(settings)),
        tuple(_folders(settings.audit)),
        tuple(each for each in certificates if each is not None),
        tracing(),
        now,
    )


def _master_key(settings: Settings) -> MasterKey | MasterKeyError:
    text = settings.master_key.get_secret_value() if settings.master_key else None
    try:
        return load_master_key(text, settings.master_key_file)
    except MasterKeyError as error:
        return error


def _private_files(settings: Settings) -> Iterator[PrivateFile]:
    """Those that exist; one that does not is the finding of whoever wants to read it."""
    named = {
        "master key": settings.master_key_file,
        "key of the public port": settings.public_key_file,
        "key of the admin port": settings.admin_key_file,
    }
    for what, path in named.items():
        if path is not None and path.is_file():
            yield PrivateFile(what, path, path.stat().st_mode)


def _folders(audit: AuditSettings) -> Iterator[Folder]:
    """Those in use, each tried by a folder in it that is gone at once, or where it would be made."""
    named = {SPOOL_DIR: audit.spool_dir if audit.on_outage == "spool" else None, EXPORT_DIR: audit.export_dir}
    for setting, path in named.items():
        if path is not None:
            yield Folder(setting, path, _trouble_with(path))


def _trouble_with(folder: Path) -> str:
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        with TemporaryDirectory(prefix=".issuer-check-", dir=nearest):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def _certificate(port: str, chain: Path | None, key: Path | None) -> PortCertificate | None:
    if chain is None or key is None:
        return None
    try:
        Certificate(chain, key, lambda _: None)
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    except (CertificateError, OSError, ValueError) as error:
        return PortCertificate(port, None, str(error))
    return PortCertificate(port, leaf.not_valid_after_utc)


async def _of_database(
    database: Database, configured: Configured, plan: Plan, target: Target, sources: Sources
) -> list[Case]:
    settings = configured.settings
    try:
        server = await read_server(database)
        before = sources.now()
        clock = await read_clock(database)
        after = sources.now()
    except DatabaseUnavailable as error:
        return [Reached(target, error)]
    skew_s = (clock - (before + (after - before) / 2)).total_seconds()
    cases: list[Case] = [Reached(target, server), Connected(settings, plan, target, server, skew_s)]
    if _is_readable(server):
        try:
            stored = await read_stored(database, timedelta(seconds=UNDELIVERED_DAYS * settings.schedule.day_s))
        except DatabaseUnavailable as error:
            return [Reached(target, error), *cases[1:]]
        key = configured.master_key
        cases.append(Stored(settings, key if isinstance(key, MasterKey) else None, stored, clock.astimezone(UTC)))
    return cases


def _is_readable(server: ServerFacts) -> bool:
    """Whether the tables are those we know, and ours to read."""
    newest = int(newest_version())
    known = {f"{version:04}" for version in (newest, newest + 1)}
    reads = not any(privilege.startswith("SELECT ") for privilege in server.missing_privileges)
    return (
        reads
        and server.schema_versions is not None
        and len(server.schema_versions) == 1
        and server.schema_versions[0] in known
    )
