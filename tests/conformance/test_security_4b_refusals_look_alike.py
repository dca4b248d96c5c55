"""security-cases.md section 4b: what a stranger can learn from a refusal is nothing, whatever its cause."""

import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import jwt
import pytest

from issuer import credentials
from issuer.credentials import MAX_KEPT_VERSIONS
from issuer.model.resource import client_id_of
from issuer.snapshot import Account
from tests.conformance.effort import Hmacs
from tests.conformance.endpoint import PEPPERS, SECRET, Endpoint, Reply, Ring, basic, raw_basic

UNKNOWN = "sa-00000000-0000-4000-8000-000000000000"


def _terminating_namespace(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.add(name="other", namespace="leaving"), SECRET


# Cause in the record → how it comes about: the client_id and the secret of the request.
CAUSES: dict[str, Callable[[Endpoint], tuple[str, str]]] = {
    "client_unknown": lambda _: (UNKNOWN, SECRET),
    "secret_wrong": lambda endpoint: (endpoint.client_id, "wrong"),
    "account_disabled": lambda endpoint: (endpoint.add(name="other", disabled=True), SECRET),
    "account_expired": lambda endpoint: (endpoint.add(name="other", expiresAt="2026-03-01T12:00:00Z"), SECRET),
    "account_terminating": lambda endpoint: (endpoint.add(name="other", terminating=True), SECRET),
    "namespace_terminating": _terminating_namespace,
    "method_not_accepted": lambda endpoint: (
        endpoint.add(name="other", authentication={"methods": ["client_secret_post"]}),
        SECRET,
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_every_cause_gives_the_same_status_headers_and_body(ring: Ring, cause: str) -> None:
    """openiddict #511, workers-oauth-provider #45, giantswarm/mcp-oauth #20, CVE-2026-22746 (Spring)."""
    endpoint = Endpoint(ring, terminating=frozenset({"leaving"}))
    client_id, secret = CAUSES[cause](endpoint)
    reply = await endpoint.ask(authorization=basic(client_id, secret))
    assert endpoint.cause() == cause
    reference = await endpoint.ask(authorization=basic("nobody", "nothing"))
    assert reply == reference == Reply(401, reference.headers, reference.body)
    assert reply.headers.raw == reference.headers.raw


async def test_a_retired_secret_looks_like_a_wrong_one(endpoint: Endpoint) -> None:
    uid = next(iter(endpoint.accounts))
    account = endpoint.accounts[uid]
    version, pepper_id, stored = account.stored_secrets[0]
    retired = replace(version, retires_at=endpoint.now)
    endpoint.accounts[uid] = Account(account.resource, ((retired, pepper_id, stored),))
    reply = await endpoint.grant()
    assert (reply.error, endpoint.cause()) == ((401, "invalid_client"), "secret_retired")
    assert reply == await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("versions", [1, 2, 8, MAX_KEPT_VERSIONS])
async def test_a_wrong_secret_costs_two_hmacs_however_many_versions_there_are(
    endpoint: Endpoint, hmacs: Hmacs, versions: int
) -> None:
    """fosite `checkClientSecret` tries up to 6 slow hashes."""
    client_id = endpoint.add(name="other", secrets=[f"secret {number}" for number in range(versions)])
    await endpoint.ask(authorization=basic(client_id, "wrong"))
    assert (hmacs.made, hmacs.compared) == (2, 2 * versions)


@pytest.mark.parametrize("position", [0, 3, 7])
async def test_no_early_exit_all_versions_are_compared_in_constant_time(
    endpoint: Endpoint, hmacs: Hmacs, position: int
) -> None:
    """dex PR #1861, authlib PR #433, authentik PR #19968: `hmac.compare_digest`, and all of them."""
    client_id = endpoint.add(name="other", secrets=[f"secret {number}" for number in range(8)])
    reply = await endpoint.ask(authorization=basic(client_id, f"secret {position}"))
    assert (reply.status, hmacs.made, hmacs.compared) == (200, 1, 8)


def test_the_comparison_is_the_standard_librarys() -> None:
    assert vars(credentials)["compare_digest"] is hmac.compare_digest
    assert vars(credentials)["digest"] is hmac.digest


@pytest.mark.parametrize("client_id", [UNKNOWN, "nobody", "", "sa-", "x" * 10_000])
async def test_an_unknown_client_costs_the_hmacs_of_a_wrong_secret(
    endpoint: Endpoint, hmacs: Hmacs, client_id: str
) -> None:
    """Ory Hydra HEAD returns before hashing."""
    await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))
    wrong, hmacs.made = hmacs.made, 0
    reply = await endpoint.ask(authorization=basic(client_id, "wrong"))
    assert (reply.error, endpoint.cause()) == ((401, "invalid_client"), "client_unknown")
    assert hmacs.made == wrong == 2


async def test_as_many_hmacs_for_each_pepper_for_strangers_and_accounts_alike(endpoint: Endpoint, hmacs: Hmacs) -> None:
    endpoint.snapshot = replace(endpoint.snapshot, peppers={**PEPPERS, "p2": b"another pepper"})
    await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))
    wrong, hmacs.made = hmacs.made, 0
    await endpoint.ask(authorization=basic(UNKNOWN, "wrong"))
    assert hmacs.made == wrong == 4


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writing", ["raw", "hex", "base64"])
async def test_what_is_stored_is_not_the_secret(endpoint: Endpoint, writing: str) -> None:
    """django-oauth-toolkit #1077."""
    stored = endpoint.account(endpoint.client_id).stored_secrets[0][2]
    secret = {"raw": stored, "hex": stored.hex().encode(), "base64": b64encode(stored)}[writing]
    percent_encoded = "".join(f"%{byte:02x}" for byte in secret)
    reply = await endpoint.ask(authorization=raw_basic(f"{endpoint.client_id}:{percent_encoded}".encode()))
    assert reply.error == (401, "invalid_client")


ALMOST = {
    "empty": "",
    "a prefix": SECRET[:-1],
    "with something behind it": SECRET + "x",
    "in another case": SECRET.upper(),
    "with a space before it": " " + SECRET,
    "with a line feed behind it": SECRET + "\n",
    "huge": SECRET * 3000,
}


@pytest.mark.parametrize("secret", ALMOST.values(), ids=ALMOST.keys())
async def test_only_the_secret_itself_authenticates(endpoint: Endpoint, secret: str) -> None:
    assert (await endpoint.ask(authorization=basic(endpoint.client_id, secret))).error == (401, "invalid_client")


async def test_the_secret_of_one_account_is_not_anothers(endpoint: Endpoint) -> None:
    other = endpoint.add(name="other", secrets=["others"])
    assert (await endpoint.ask(authorization=basic(other, SECRET))).error == (401, "invalid_client")
    assert (await endpoint.ask(authorization=basic(endpoint.client_id, "others"))).error == (401, "invalid_client")


# --- ids --------------------------------------------------------------------------------------------------------------

UID_TEXT = "3f0c1f9e-6f0a-4c64-9d53-2d7a4f1d8f10"
STRANGE_IDS = {
    "empty": "",
    "huge": "a" * 30_000,
    "SQL": "sa-' OR 1=1; --",
    "another version of UUID": "sa-3f0c1f9e-6f0a-1c64-9d53-2d7a4f1d8f10",
    "upper case": "sa-" + UID_TEXT.upper(),
    "without hyphens": "sa-" + UID_TEXT.replace("-", "") + "    ",
    "braces": "sa-{" + UID_TEXT[:-2] + "}",
    "URN": "sa-urn:uuid:" + UID_TEXT[:-9],
    "digits of another script": "sa-" + UID_TEXT.replace("3", "٣"),
    "a space before it": " sa-" + UID_TEXT,
    "a line feed behind it": "sa-" + UID_TEXT + "\n",
    "without prefix": UID_TEXT,
    "another prefix": "SA-" + UID_TEXT,
    "right-to-left override": "sa-\u202e" + UID_TEXT,
}


@pytest.mark.parametrize("client_id", STRANGE_IDS.values(), ids=STRANGE_IDS.keys())
@pytest.mark.parametrize("method", ["basic", "post"])
async def test_a_strange_id_is_refused_without_a_look_up(endpoint: Endpoint, client_id: str, method: str) -> None:
    """django-oauth-toolkit #1006; DESIGN section 8: ids not shaped `sa-<uuid4>` cost no query."""
    if method == "basic":
        reply = await endpoint.ask(authorization=basic(client_id, SECRET))
    else:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": SECRET}
        reply = await endpoint.ask(form, authorization=None)
    assert reply.error == (401, "invalid_client")
    assert endpoint.loads == 0


async def test_an_id_that_nobody_has_is_not_in_the_record(endpoint: Endpoint) -> None:
    """A secret pasted into the wrong field would be repeated there."""
    await endpoint.ask(authorization=basic("isk1_canary_in_the_id_field", SECRET))
    assert "canary" not in repr(endpoint.events)


async def test_neither_the_secret_nor_the_token_is_in_any_event(endpoint: Endpoint) -> None:
    secret = "isk1_canary"
    client_id = endpoint.add(name="other", secrets=[secret])
    granted = await endpoint.ask(authorization=basic(client_id, secret))
    for wrong in ("isk1_canary_wrong", "isk1_canary%00", "isk1_canary\xff"):
        await endpoint.ask(authorization=raw_basic(f"{client_id}:{wrong}".encode("latin-1")))
    said = repr(endpoint.events)
    assert granted.status == 200
    assert len(endpoint.events) == 4 * 2
    assert "canary" not in said
    assert granted.body["access_token"].rpartition(".")[2] not in said


# --- time -------------------------------------------------------------------------------------------------------------


async def test_expiry_is_enforced_at_use_not_by_a_clean_up_job(endpoint: Endpoint) -> None:
    """CVE-2025-64708 (authentik), django-oauth-toolkit #746. The account stays in memory all the time."""
    endpoint.client_id = endpoint.add(name="other", expiresAt="2026-03-01T12:00:30Z")
    first = await endpoint.grant()
    endpoint.now = endpoint.now.replace(second=30)
    last = await endpoint.grant()
    assert (first.status, first.body["expires_in"]) == (200, 30)
    assert (last.error, endpoint.cause()) == ((401, "invalid_client"), "account_expired")
    assert endpoint.loads == 1


async def test_a_token_never_outlives_its_account(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", expiresAt="2026-03-01T12:00:30Z")
    endpoint.now = endpoint.now.replace(second=19, microsecond=100_000)
    reply = await endpoint.grant()
    claims = jwt.decode(reply.body["access_token"], options={"verify_signature": False})
    assert reply.body["expires_in"] == 10
    assert claims["exp"] <= endpoint.now.replace(second=30, microsecond=0).timestamp()


async def test_less_than_10_s_before_expiry_no_token_is_worth_its_name(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", expiresAt="2026-03-01T12:00:30Z")
    endpoint.now = endpoint.now.replace(second=20, microsecond=1)
    assert (await endpoint.grant()).error == (400, "unauthorized_client")


def test_ids_of_the_cases_have_the_right_shape() -> None:
    """So that each row above is refused for its own reason."""
    assert client_id_of(UUID(UID_TEXT)) == f"sa-{UID_TEXT}"
