"""What benchmarks measure on: a bootstrapped PostgreSQL database with one account, and the same request for both sides."""

import asyncio
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from issuer.embedded import EmbeddedPostgres
from tests.benchmarks.cores import children_of, keep_off_the_first
from tests.benchmarks.report import BenchmarkFailed
from tests.databases import Bootstrapped, Databases
from tests.world import TOKEN, basic, started_world

URL = "https://issuer.example"  # as in the ceiling's tokens
SCOPES = ("api:payments", "api:ledger:read")
FORM = f"grant_type=client_credentials&scope={'+'.join(SCOPES)}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    cpu_rounds: int
    cpu_tokens: int
    load_rounds: int
    load_s: int


THOROUGH = Effort(cpu_rounds=21, cpu_tokens=500, load_rounds=5, load_s=4)
QUICK = Effort(cpu_rounds=7, cpu_tokens=250, load_rounds=3, load_s=1)


@dataclass(frozen=True, slots=True)
class Request:
    """A token request that succeeds: credential and form, the path is the same everywhere."""

    authorization: str = field(repr=False)
    path: str = TOKEN
    form: str = FORM
    client_id: str = ""


CEILING_REQUEST = Request(basic("sa-1", "s" * 43))


@dataclass(frozen=True, slots=True)
class Stage:
    """A database with one account like the demo's, and the request that gets it a token; `databases` makes others."""

    database_url: str = field(repr=False)
    master_key: str = field(repr=False)
    request: Request
    databases: Databases


@contextmanager
def prepared_stage() -> Iterator[Stage]:
    """A stage on a PostgreSQL of its own, or on the one ISSUER_TEST_DATABASE_URL names."""
    with ExitStack() as stack:
        server_url = os.environ.get("ISSUER_TEST_DATABASE_URL")
        if not server_url:
            folder = stack.enter_context(TemporaryDirectory(prefix="issuer-bench-"))
            postgres = EmbeddedPostgres(Path(folder) / "postgres")
            stack.callback(postgres.stop)
            server_url = postgres.start()
            postmaster = _postmaster(Path(folder) / "postgres" / "cluster" / "postmaster.pid")
            keep_off_the_first([postmaster, *children_of(postmaster)])
        databases = stack.enter_context(Databases(server_url))
        database_url = stack.enter_context(databases.copy())
        request = asyncio.run(_account(database_url, databases.bootstrapped))
        yield Stage(database_url, databases.bootstrapped.master_key, request, databases)


def _postmaster(pid_file: Path) -> int:
    return int(pid_file.read_text(encoding="ascii").splitlines()[0])


async def _account(database_url: str, bootstrapped: Bootstrapped) -> Request:
    async with started_world(database_url, bootstrapped, url=URL) as world:
        client = await world.account(
            "payment-service", "payments-prod", scopes=list(SCOPES), tokenSettings={"accessTokenTTL": "5m"}
        )
        answer = await client.token()  # no secret is pending any more
        check_token(answer.status_code, answer.content)
        return Request(basic(client.client_id, client.secret), client_id=client.client_id)


def check_token(status: int, body: bytes) -> None:
    """Both sides must do the work that is compared: an ES256 access token with both scopes. Raises BenchmarkFailed."""
    try:
        values = json.loads(body)
        header, payload = (_segment(part) for part in values["access_token"].split(".")[:2])
        good = status == 200 and header["alg"] == "ES256" and header["typ"] == "at+jwt"
        good = good and payload["scope"] == values["scope"] == " ".join(SCOPES)
    except (ValueError, KeyError):
        good = False
    if not good:
        raise BenchmarkFailed(f"the token endpoint did not answer with the token that is compared: status {status}")


def _segment(text: str) -> dict[str, str]:
    value: dict[str, str] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return value
