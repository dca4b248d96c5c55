"""`issuer dev`: the production steps on a PostgreSQL of its own, with a demo account and a curl line that works.

Everything lives in one folder: the database, the master key, and `dev.env` with every address and credential. Removing the
folder is starting anew.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from issuer.administration.authorize import Principal
from issuer.administration.preconditions import Driver
from issuer.administration.secrets import HandedOut
from issuer.cli.privatefile import private_file
from issuer.cli.session import read_env_file
from issuer.embedded import EmbeddedPostgres
from issuer.events import EmbeddedPostgresReady
from issuer.model.faults import Fault, Reason
from issuer.model.kinds import NAMESPACE, SERVICE_ACCOUNT
from issuer.observe import log_events
from issuer.protocol.metadata import JWKS_PATH, TOKEN_PATH
from issuer.settings import LogSettings, Settings, load_settings
from issuer.signing.sealing import generate_master_key_line
from issuer.store.schema import migrate
from issuer.wiring import Foundation, first_start, lay_foundation, wire

LOCAL = Principal("local", "local:issuer dev")
DEMO_NAMESPACE = "payments-prod"
DEMO_ACCOUNT: dict[str, Any] = {
    "metadata": {"name": "payment-service"},
    "spec": {
        "displayName": "Payment Processing Service",
        "scopes": ["api:payments", "api:ledger:read"],
        "tokenSettings": {"accessTokenTTL": "5m"},
    },
}

_ADMIN = ("ISSUER_ADMIN_CLIENT_ID", "ISSUER_ADMIN_CLIENT_SECRET")
_DEMO = ("DEMO_CLIENT_ID", "DEMO_CLIENT_SECRET")


@dataclass(frozen=True, slots=True)
class Playground:
    """A prepared development issuer. `announce` is called once it answers."""

    foundation: Foundation
    postgres: EmbeddedPostgres
    folder: Path
    environment: dict[str, str] = field(repr=False)

    async def supervise(self) -> None:
        """Keeps the database running."""
        first = True

        def emit(event: Any) -> None:
            nonlocal first
            if not (first and isinstance(event, EmbeddedPostgresReady)):
                self.foundation.emit(event)
            first = False

        await self.postgres.supervise(emit)

    def announce(self) -> None:
        """Writes `dev.env` and shows the way to the first token."""
        path = self.folder / "dev.env"
        with private_file(path) as write:
            write("".join(f"{name}={value}\n" for name, value in self.environment.items()))
        values = self.environment
        credential = f"{values['DEMO_CLIENT_ID']}:{values['DEMO_CLIENT_SECRET']}"
        print(
            f"""
Issuer is ready at {values["ISSUER_URL"]} (administration: {values["ISSUER_ADMIN_URL"]}). Ctrl-C stops it.

A token for the demo account payments-prod/payment-service:

  curl -s -u {credential} -d grant_type=client_credentials {values["ISSUER_TOKEN_ENDPOINT"]}

In another terminal, from this folder:  .venv/bin/issuer token   .venv/bin/issuer get serviceaccounts -A
Addresses and credentials are in {path}.
""",
            flush=True,
        )


@contextmanager
def playground(
    folder: Path, config: Path | None, public: tuple[Any, ...], admin: tuple[Any, ...]
) -> Iterator[Playground]:
    """A playground whose database runs inside the block.

    Raises SettingsError, EmbeddedPostgresError, MasterKeyError and whatever else a start can.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    master_key_file = folder / "master.key"
    if not master_key_file.exists():
        with private_file(master_key_file) as write:
            write(generate_master_key_line())
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        settings = _settings(config, f"http://{_address(public)}", postgres.start(), master_key_file)
        foundation = lay_foundation(settings, log_events(settings.log))
        known = read_env_file(folder / "dev.env") if (folder / "dev.env").exists() else {}
        credentials = asyncio.run(_prepare(foundation, known))
        environment = {
            "ISSUER_URL": foundation.issuer,
            "ISSUER_TOKEN_ENDPOINT": foundation.issuer + TOKEN_PATH,
            "ISSUER_JWKS_URI": foundation.issuer + JWKS_PATH,
            "ISSUER_ADMIN_URL": f"http://{_address(admin)}",
            "ISSUER_DATABASE_URL": foundation.database_url,
            "ISSUER_MASTER_KEY_FILE": str(master_key_file.resolve()),
            **credentials,
        }
        yield Playground(foundation, postgres, folder, environment)
    finally:
        postgres.stop()


def _settings(config: Path | None, url: str, database_url: str, master_key_file: Path) -> Settings:
    """The settings as given, but for what makes a playground: its own address, database and key, whatever is exported."""
    given = load_settings(config, log=LogSettings(format="console"))
    own = {
        "url": url,
        "database_url": SecretStr(database_url),
        "master_key": None,
        "master_key_file": master_key_file,
        "admin_plaintext": True,
    }
    return given.model_copy(update=own)


async def _prepare(foundation: Foundation, known: dict[str, str]) -> dict[str, str]:
    """Schema, first start, demo account; the credentials of both accounts, kept from the last run where they are."""
    database = foundation.database("dev")
    try:
        await migrate(database.engine)
        start = first_start(foundation, database, LOCAL)
        admin = await start.bootstrap()
        if admin is None and not all(known.get(name) for name in _ADMIN):
            admin = await start.recover()
    finally:
        await database.close()
    issuer = wire(foundation)
    try:
        await issuer.reloader.catch_up()
        with _already_there():
            await issuer.resources.create(LOCAL, NAMESPACE, "", {"metadata": {"name": DEMO_NAMESPACE}})
        demo: HandedOut | None = None
        with _already_there():
            await issuer.resources.create(LOCAL, SERVICE_ACCOUNT, DEMO_NAMESPACE, DEMO_ACCOUNT)
        current = await issuer.resources.get(LOCAL, SERVICE_ACCOUNT, DEMO_NAMESPACE, DEMO_ACCOUNT["metadata"]["name"])
        if current.client_id != known.get(_DEMO[0]):
            name = DEMO_ACCOUNT["metadata"]["name"]
            wish = {"acknowledge": True, "compromised": current.status["phase"] != "Pending"}
            demo = await issuer.keeper.hand_out(LOCAL, DEMO_NAMESPACE, name, wish, Driver(force=True))
    finally:
        await issuer.close()
    return {**_pair(_ADMIN, admin, known), **_pair(_DEMO, demo, known)}


def _pair(names: tuple[str, str], made: HandedOut | None, known: dict[str, str]) -> dict[str, str]:
    values = (made.client_id, made.client_secret) if made is not None else (known[names[0]], known[names[1]])
    return dict(zip(names, values, strict=True))


@contextmanager
def _already_there() -> Iterator[None]:
    """What a run before this one made is fine."""
    try:
        yield
    except Fault as fault:
        if fault.reason is not Reason.ALREADY_EXISTS:
            raise


def _address(name: tuple[Any, ...]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
