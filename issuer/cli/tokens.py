"""`issuer token`: a token as a workload gets it, and what stands in it."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from issuer.cli.connection import Connection, connected
from issuer.cli.environment import Known, read_env_file
from issuer.cli.named import about, parse_account
from issuer.cli.output import CommandError, UsageError, printable, span, to_json
from issuer.cli.session import Session, http_client, json_object, request_token, send
from issuer.protocol.metadata import JWKS_PATH, TOKEN_PATH

ALGORITHMS = ("ES256", "RS256", "EdDSA", "Ed25519")
"""The ones an Issuer signs with; a token that names another is not verified, whatever it says."""

_TIMES = frozenset({"exp", "iat", "nbf", "auth_time"})


class TokenFormat(StrEnum):
    """How `token` writes what it got."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks for the token."""

    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A JWT taken apart; `signature` says whether it was verified, and with what."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signature: str


@connected
def token(
    connection: Connection,
    account: Annotated[
        str | None, typer.Argument(metavar="NAMESPACE/NAME", help="Account whose client id is looked up.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", metavar="ID", help="Client id. Environment: ISSUER_CLIENT_ID.")
    ] = None,
    client_secret: Annotated[
        str | None,
        typer.Option(
            "--client-secret",
            metavar="SECRET",
            help="Secret. Better in the environment, as ISSUER_CLIENT_SECRET, or asked for.",
        ),
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option("--credentials", metavar="FILE", help="What `issuer rotate --out FILE` wrote.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Scope to ask for; repeatable.")] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", help="Audience the token is for; the account's first when left out.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Only the token, for TOKEN=$(issuer token --raw).")] = False,
    output: Annotated[TokenFormat, typer.Option("--output", "-o", help="How to show it.")] = TokenFormat.TEXT,
) -> None:
    """Get a token by client_credentials and show what stands in it.

    Without any client: ISSUER_CLIENT_ID and ISSUER_CLIENT_SECRET, else the demo account of `issuer dev`.

    Example: issuer token --scope api:payments
    """
    if raw and output is TokenFormat.JSON:
        raise UsageError("--raw and -o json exclude each other")
    known = connection.known()
    form = {"scope": " ".join(scope)} if scope else {}
    form |= {"resource": resource} if resource else {}
    with http_client() as client:
        if account:
            client_id = _client_id_of(Session(client, known, write=False), account)
        ambient = known.values if connection.env_file else os.environ
        credential = _credential(known, ambient, client_id, client_secret, credentials)
        answer = request_token(client, known.token_endpoint(), credential.client_id, credential.secret, form)
        if raw:
            print(answer["access_token"])
            return
        shown = {name: decode(client, known, answer[name]) for name in ("access_token", "id_token") if name in answer}
    if output is TokenFormat.JSON:
        parts = {name: {"header": d.header, "claims": d.claims, "signature": d.signature} for name, d in shown.items()}
        print(to_json({**answer, "decoded": parts}))
        return
    for name, decoded in shown.items():
        print("\n".join(_lines(name, decoded, time.time())))
    print(f"granted scope  {printable(str(answer.get('scope', '')))}")
    print(f"expires in     {printable(str(answer.get('expires_in', '')))} s")


def decode(client: httpx.Client, known: Known, text: str) -> Decoded:
    """The JWT's parts, verified with the issuer's published keys if they can be had. Raises CommandError if forged."""
    try:
        unverified = jws.extract_compact(text.encode())
        header, claims = unverified.headers(), json.loads(unverified.payload)
    except (JoseError, ValueError):
        raise CommandError("the token is not a JWT", next_step="`--raw` prints it as it is") from None
    where = _jwks_uri(known)
    try:
        answer: Any = json_object(send(client, "GET", where))
        keys = KeySet.import_key_set(answer)
    except (CommandError, JoseError, ValueError, KeyError, TypeError):
        return Decoded(header, claims, f"not verified: no usable keys at {where}")
    try:
        jwt.decode(text, keys, algorithms=ALGORITHMS)
    except (JoseError, ValueError) as error:
        raise CommandError(
            f"the token's signature does not verify with the keys at {where}: {error}",
            next_step="do not trust it; are ISSUER_TOKEN_ENDPOINT and ISSUER_JWKS_URI of the same issuer?",
        ) from None
    return Decoded(header, claims, f"verified with kid {header.get('kid')} ({header['alg']}) of {where}")


def _client_id_of(session: Session, account: str) -> str:
    named = parse_account(account)
    with about(named):
        found = session.call("GET", named.path)
    return str((found.get("status") or {}).get("clientId", ""))


def _jwks_uri(known: Known) -> str:
    """Beside the token endpoint, as every Issuer has it; elsewhere only if the endpoint is nobody's usual one."""
    issuer, usual, _ = known.token_endpoint().rpartition(TOKEN_PATH)
    return issuer + JWKS_PATH if usual else known.url("ISSUER_JWKS_URI")


def _credential(
    known: Known, ambient: Mapping[str, str], client_id: str | None, secret: str | None, file: Path | None
) -> Credential:
    """What the options say, completed by sources that speak of the same client."""
    written = read_env_file(file) if file else {}
    for values, prefix in ((written, "CLIENT"), (ambient, "ISSUER_CLIENT"), (known.values, "DEMO_CLIENT")):
        its_id, its_secret = values.get(f"{prefix}_ID"), values.get(f"{prefix}_SECRET")
        client_id = client_id or its_id
        if client_id and not secret and its_id in {None, client_id}:
            secret = its_secret
    if not client_id:
        raise CommandError(
            "which client? no option, environment variable or dev.env names one",
            next_step="set ISSUER_CLIENT_ID and ISSUER_CLIENT_SECRET, or use --credentials FILE",
        )
    if not secret and sys.stdin.isatty():
        secret = typer.prompt(f"Secret of {client_id}", hide_input=True, err=True)
    if not secret:
        raise CommandError(
            f"the secret of {client_id} is not known",
            next_step="set ISSUER_CLIENT_SECRET, or use the --credentials FILE that `issuer rotate --out FILE` wrote",
        )
    return Credential(client_id, secret)


def _lines(name: str, decoded: Decoded, now_s: float) -> list[str]:
    parts: Sequence[tuple[str, Mapping[str, Any]]] = (("header", decoded.header), ("claims", decoded.claims))
    width = max(len(str(key)) for _, part in parts for key in part) + 2
    lines = [name.replace("_", " "), f"  {printable(decoded.signature)}"]
    for title, part in parts:
        lines.append(f"  {title}")
        lines += [printable(f"    {key:<{width}}{_value(key, value, now_s)}") for key, value in part.items()]
    return lines


def _value(key: str, value: Any, now_s: float) -> str:
    if key in _TIMES and isinstance(value, int):
        try:
            moment = datetime.fromtimestamp(value, UTC)
        except (OverflowError, ValueError, OSError):
            return str(value)
        distance = int(value - now_s)
        near = f"in {span(distance)}" if distance >= 0 else f"{span(-distance)} ago"
        return f"{value}  {moment:%Y-%m-%d %H:%M:%S} UTC, {near}"
    return value if isinstance(value, str) else json.dumps(value)
