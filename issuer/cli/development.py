"""`issuer dev`: the production steps on a PostgreSQL of its own, with a demo account and a curl line that works.

Everything lives in one folder: the database, the master key, and `dev.env` with every address and credential. Removing the
folder is starting anew.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import httpx
from pydantic import SecretStr

from issuer.administration.authorize import Principal
from issuer.administration.preconditions import Driver
from issuer.administration.secrets import HandedOut
from issuer.cli.environment import DEV_ENV, read_env_file
from issuer.cli.output import CommandError, note
from issuer.cli.privatefile import private_file
from issuer.embedded import EmbeddedPostgres
from issuer.events import EmbeddedPostgresReady
from issuer.model.faults import Fault, Reason
from issuer.model.kinds import NAMESPACE, SERVICE_ACCOUNT
from issuer.model.scopes import ADMIN_AUDIENCE
from issuer.observe.log import log_events
from issuer.protocol.metadata import JWKS_PATH, TOKEN_PATH
from issuer.settings import Settings, load_settings
from issuer.signing.sealing import generate_master_key_line
from issuer.store.schema import migrate
from issuer.wiring import Foundation, Issuer, first_start, lay_foundation, wire

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
            write("".join(f"{name}={quote(value)}\n" for name, value in self.environment.items()))
        values = self.environment
        issuer, found = _command(), "" if path.absolute() == DEV_ENV.absolute() else f" --env-file {quote(str(path))}"
        credential = f"{values['DEMO_CLIENT_ID']}:{values['DEMO_CLIENT_SECRET']}"
        print(
            f"""
Issuer is ready at {values["ISSUER_URL"]} (administration: {values["ISSUER_ADMIN_URL"]}). Ctrl-C stops it.

A token for the demo account payments-prod/payment-service:

  curl -s -u {credential} -d grant_type=client_credentials {values["ISSUER_TOKEN_ENDPOINT"]}

In another terminal, from this folder:

  {issuer} token{found}
  {issuer} get serviceaccounts -A{found}

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
    _make_folder(folder)
    master_key_file = folder / "master.key"
    if not master_key_file.exists():
        with private_file(master_key_file) as write:
            write(generate_master_key_line())
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        settings = _settings(config, f"http://{_address(public)}", postgres.start(), master_key_file)
        known = read_env_file(folder / "dev.env") if (folder / "dev.env").exists() else {}
        # What the preparation writes is the same every time: only trouble is worth a line.
        trouble = log_events(settings.log.model_copy(update={"level": "warning"}))
        credentials = asyncio.run(_prepare(lay_foundation(settings, trouble), known))
        foundation = lay_foundation(settings, log_events(settings.log))
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


def _make_folder(folder: Path) -> None:
    """A folder of our own. Raises CommandError."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            note(f"Making a database, keys and a demo account in {folder}; this happens once.")
        elif not folder.is_dir():
            raise CommandError(f"{folder} is not a folder", next_step="name another one with --data-dir")
    except OSError as error:
        raise CommandError(f"{folder} cannot be made: {error.strerror}", next_step="name another --data-dir") from None


def _settings(config: Path | None, url: str, database_url: str, master_key_file: Path) -> Settings:
    """The settings as given, but for what makes a playground: its own address, database and key, whatever is exported."""
    given = load_settings(config, log={"format": "console"}, drain_delay_s=0)
    own = {
        "url": url,
        "database_url": SecretStr(database_url),
        "master_key": None,
        "master_key_file": master_key_file,
        "admin_plaintext": True,
    }
    return given.model_copy(update=own)


async def _prepare(foundation: Foundation, known: dict[str, str]) -> dict[str, str]:
    """Schema, first start, demo account; the credentials of both accounts, kept from the last run while they work."""
    database = foundation.database("dev")
    issuer = wire(foundation)
    try:
        await migrate(database.engine)
        start = first_start(foundation, database, LOCAL)
        admin = await start.bootstrap()
        await issuer.reloader.catch_up()
        async with issuer.recorder.at_work():
            if admin is None and not await _gets_token(issuer, _ADMIN, known, resource=ADMIN_AUDIENCE):
                admin = await start.recover()
            demo = await _demo_account(issuer, known)
    finally:
        await issuer.close()
        await database.close()
    return {**_pair(_ADMIN, admin, known), **_pair(_DEMO, demo, known)}


async def _demo_account(issuer: Issuer, known: dict[str, str]) -> HandedOut | None:
    """The demo account is there; a secret of it unless the known one works."""
    name = DEMO_ACCOUNT["metadata"]["name"]
    with _already_there():
        await issuer.resources.create(LOCAL, NAMESPACE, "", {"metadata": {"name": DEMO_NAMESPACE}})
    with _already_there():
        await issuer.resources.create(LOCAL, SERVICE_ACCOUNT, DEMO_NAMESPACE, DEMO_ACCOUNT)
    current = await issuer.reader.get(LOCAL, SERVICE_ACCOUNT, DEMO_NAMESPACE, name)
    tokens_leave = current.status["phase"] in {"Pending", "Active"}
    if known.get(_DEMO[0]) == current.client_id and (not tokens_leave or await _gets_token(issuer, _DEMO, known)):
        return None
    try:
        return await issuer.keeper.hand_out(LOCAL, DEMO_NAMESPACE, name, {"acknowledge": True}, Driver(force=True))
    except Fault as fault:
        if fault.reason is not Reason.CONFLICT:
            raise
        # Somebody holds a version that was never acknowledged, and the playground's own was lost: start over.
        wish = {"acknowledge": True, "compromised": True}
        return await issuer.keeper.hand_out(LOCAL, DEMO_NAMESPACE, name, wish, Driver(force=True))


async def _gets_token(issuer: Issuer, names: tuple[str, str], known: dict[str, str], **form: str) -> bool:
    """Whether the known credential of these names is good for a token: it may have been rotated since it was written."""
    credential = tuple(known.get(name, "") for name in names)
    if not all(credential):
        return False
    async with httpx.AsyncClient(transport=httpx.ASGITransport(issuer.public), base_url="http://issuer") as client:
        form = {"grant_type": "client_credentials", **form}
        answer = await client.post(TOKEN_PATH, data=form, auth=(credential[0], credential[1]))
    return answer.is_success


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


def _command() -> str:
    """How the program that runs now is called from the current folder."""
    program = Path(sys.argv[0])
    if program.name != "issuer":
        return f"{sys.executable} -m issuer"
    if shutil.which("issuer"):
        return "issuer"
    return os.path.relpath(program)
