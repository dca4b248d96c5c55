"""DESIGN sections 4 and 5: failed authentication is verified first and throttled after; 401 is only said when it is sure."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_network
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from issuer.directory import REREAD_INTERVAL_S
from issuer.events import RetiredSecretPresented, TokenRefused
from issuer.model.resource import client_id_of, parse_client_id
from issuer.ratelimit import FailureRates, Places
from issuer.snapshot import Account
from tests.conformance.effort import Hmacs
from tests.conformance.endpoint import SECRET, Endpoint, Reply, Ring, basic, compiled_account

ELSEWHERE = "198.51.100.7"
TOO_MANY = (429, "temporarily_unavailable")


def nobody() -> str:
    return client_id_of(uuid4())


def uid_of(client_id: str) -> UUID:
    uid = parse_client_id(client_id)
    assert uid is not None
    return uid


async def fail(endpoint: Endpoint, client_id: str, times: int = 1) -> Reply:
    """The last of so many answers to a wrong secret."""
    return [await endpoint.ask(authorization=basic(client_id, "wrong")) for _ in range(times)][-1]


async def exhaust(endpoint: Endpoint, client_id: str) -> None:
    """Until this client's failures from here are throttled."""
    reply = await fail(endpoint, client_id, FailureRates.PER_MINUTE + 1)
    assert reply.error == TOO_MANY


async def succeed(endpoint: Endpoint, client_id: str, secret: str = SECRET) -> int:
    return (await endpoint.ask(authorization=basic(client_id, secret))).status


def renew(endpoint: Endpoint, client_id: str, *secrets: str) -> None:
    """Another replica made other secrets; nobody here has heard of it."""
    endpoint.accounts[uid_of(client_id)] = compiled_account(uid_of(client_id), name="other", secrets=secrets)


# --- what a stranger can tell -----------------------------------------------------------------------------------------


class Effort(NamedTuple):
    """Everything about an answer that can be seen, measured or guessed from outside."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: str
    hmacs: int
    loads: int
    looks: int


async def effort(endpoint: Endpoint, hmacs: Hmacs, client_id: str) -> Effort:
    before = hmacs.made, endpoint.loads, endpoint.looks
    reply = await fail(endpoint, client_id)
    return Effort(
        reply.status,
        tuple(reply.headers.raw),
        str(reply.body),
        hmacs.made - before[0],
        endpoint.loads - before[1],
        endpoint.looks - before[2],
    )


async def the_first_time(_: Endpoint, __: str) -> None: ...


async def within_the_second_of_a_read(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)


async def a_second_later(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)
    endpoint.later(seconds=REREAD_INTERVAL_S)


async def throttled(endpoint: Endpoint, client_id: str) -> None:
    await exhaust(endpoint, client_id)


async def throttled_a_moment_ago(endpoint: Endpoint, client_id: str) -> None:
    await exhaust(endpoint, client_id)
    endpoint.later(seconds=60 / FailureRates.PER_MINUTE)


async def the_source_is_throttled(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)
    for _ in range(FailureRates.PER_MINUTE_OF_A_SOURCE):
        endpoint.issuance.failures.admit(nobody(), endpoint.peer, endpoint.now.timestamp())


async def the_client_is_guessed_from_everywhere(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)
    for number in range(FailureRates.PER_MINUTE_OF_A_CLIENT):
        endpoint.issuance.failures.admit(client_id, f"192.0.2.{number}", endpoint.now.timestamp())


async def nobody_more_may_wait(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)
    endpoint.issuance = replace(endpoint.issuance, patience=Places(0, 0))
    endpoint.serve()


async def the_database_is_away_within_the_second(endpoint: Endpoint, client_id: str) -> None:
    await fail(endpoint, client_id)
    endpoint.away = True


# What went before → status, HMACs, queries and polls of the next failure.
STAGES = {
    the_first_time: (401, 2, 1, 0),
    within_the_second_of_a_read: (401, 2, 0, 1),
    a_second_later: (401, 2, 1, 0),
    throttled: (429, 1, 0, 0),
    throttled_a_moment_ago: (401, 2, 1, 0),
    the_source_is_throttled: (429, 1, 0, 0),
    the_client_is_guessed_from_everywhere: (429, 1, 0, 0),
    nobody_more_may_wait: (429, 1, 0, 0),
    the_database_is_away_within_the_second: (503, 1, 0, 1),
}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.replace("_", " "))
async def test_a_wrong_secret_and_an_unknown_id_are_alike_in_all_that_can_be_seen_or_measured(
    ring: Ring, hmacs: Hmacs, stage: Callable[..., object]
) -> None:
    """The known account is not in memory at first, as after a start; `already known` is the next test."""
    found = []
    for known in (True, False):
        endpoint = Endpoint(ring)
        client_id = endpoint.client_id if known else nobody()
        await stage(endpoint, client_id)  # type: ignore[misc]
        found.append(await effort(endpoint, hmacs, client_id))
    assert found[0] == found[1]
    one = found[0]
    assert (one.status, one.hmacs, one.loads, one.looks) == STAGES[stage]  # type: ignore[index]


async def test_so_is_a_wrong_secret_for_an_account_that_was_in_memory_for_long(
    endpoint: Endpoint, hmacs: Hmacs
) -> None:
    assert await succeed(endpoint, endpoint.client_id) == 200
    endpoint.later(hours=1)
    assert await effort(endpoint, hmacs, endpoint.client_id) == await effort(endpoint, hmacs, nobody())


async def test_the_record_of_a_throttled_stranger_names_nobody(endpoint: Endpoint) -> None:
    """The id may be a secret in the wrong field; ids of another shape share one rate."""
    for number in range(FailureRates.PER_MINUTE):
        await fail(endpoint, f"isk1_canary{number}")
    assert (await fail(endpoint, "isk1_canary")).error == TOO_MANY
    await exhaust(endpoint, nobody())
    await exhaust(endpoint, endpoint.client_id)
    refused = [event for event in endpoint.events if isinstance(event, TokenRefused)]
    assert {event.client_id for event in refused if event.failure == "too_many_failures"} == {None, endpoint.client_id}
    assert "canary" not in repr(endpoint.events)


# --- a correct credential always succeeds -----------------------------------------------------------------------------


async def test_the_right_secret_succeeds_however_often_wrong_ones_failed(endpoint: Endpoint) -> None:
    await exhaust(endpoint, endpoint.client_id)
    await the_source_is_throttled(endpoint, endpoint.client_id)
    for _ in range(50):
        assert await succeed(endpoint, endpoint.client_id) == 200


async def test_so_does_that_of_an_account_not_in_memory_behind_a_source_that_is_throttled(endpoint: Endpoint) -> None:
    """A neighbour behind the same address, with an old secret in a loop, must not keep a fleet from starting."""
    await the_source_is_throttled(endpoint, nobody())
    other = endpoint.add(name="other")
    assert await succeed(endpoint, other) == 200


async def test_throttling_is_for_the_pair_of_client_and_source(endpoint: Endpoint) -> None:
    await exhaust(endpoint, endpoint.client_id)
    assert (await fail(endpoint, endpoint.add(name="other"))).status == 401
    endpoint.peer = ELSEWHERE
    assert (await fail(endpoint, endpoint.client_id)).status == 401


async def test_a_429_says_when_to_come_back_and_then_it_is_401_again(endpoint: Endpoint) -> None:
    await exhaust(endpoint, endpoint.client_id)
    reply = await fail(endpoint, endpoint.client_id)
    assert reply.headers["retry-after"] == "2"
    endpoint.later(seconds=2)
    assert (await fail(endpoint, endpoint.client_id)).status == 401


async def test_a_source_that_throws_ids_about_is_throttled_too_and_its_ids_are_still_looked_at(
    endpoint: Endpoint,
) -> None:
    for _ in range(FailureRates.PER_MINUTE_OF_A_SOURCE):
        endpoint.issuance.failures.admit(nobody(), endpoint.peer, endpoint.now.timestamp())
    loads = endpoint.loads
    for _ in range(10):
        assert (await fail(endpoint, nobody())).error == TOO_MANY
    assert endpoint.loads == loads + 10
    endpoint.peer = ELSEWHERE
    assert (await fail(endpoint, nobody())).status == 401


async def test_whoever_guesses_from_everywhere_locks_nobody_out(endpoint: Endpoint) -> None:
    await the_client_is_guessed_from_everywhere(endpoint, endpoint.client_id)
    assert (await fail(endpoint, endpoint.client_id)).error == TOO_MANY
    for peer in (endpoint.peer, ELSEWHERE):
        endpoint.peer = peer
        assert await succeed(endpoint, endpoint.client_id) == 200
    assert (await fail(endpoint, nobody())).status == 401


async def test_a_retired_secret_is_throttled_like_a_wrong_one_and_noticed_no_more_often(endpoint: Endpoint) -> None:
    uid = uid_of(endpoint.client_id)
    account = endpoint.accounts[uid]
    version, pepper_id, stored = account.stored_secrets[0]
    endpoint.accounts[uid] = Account(
        account.resource, ((replace(version, retires_at=endpoint.now), pepper_id, stored),)
    )
    statuses = [(await endpoint.grant()).status for _ in range(FailureRates.PER_MINUTE + 20)]
    assert statuses == [401] * FailureRates.PER_MINUTE + [429] * 20
    noticed = [event for event in endpoint.events if isinstance(event, RetiredSecretPresented)]
    assert len(noticed) == FailureRates.PER_MINUTE


# --- a secret made elsewhere ------------------------------------------------------------------------------------------


async def test_a_secret_made_elsewhere_within_the_second_works_after_the_next_poll(endpoint: Endpoint) -> None:
    """A re-read a moment ago must not refuse a secret that is right: the poll sees that there is something to read."""
    await fail(endpoint, endpoint.client_id)

    async def poll() -> None:
        endpoint.directory.invalidate([uid_of(endpoint.client_id)])

    endpoint.issuance = replace(endpoint.issuance, next_look=poll)
    endpoint.serve()
    renew(endpoint, endpoint.client_id, SECRET, "brand new")
    assert await succeed(endpoint, endpoint.client_id, "brand new") == 200


async def test_so_does_the_secret_of_an_account_made_elsewhere_whose_id_was_asked_for_too_early(
    endpoint: Endpoint,
) -> None:
    client_id = nobody()
    assert (await fail(endpoint, client_id)).status == 401

    async def poll() -> None:
        endpoint.directory.invalidate([uid_of(client_id)])

    endpoint.issuance = replace(endpoint.issuance, next_look=poll)
    endpoint.serve()
    renew(endpoint, client_id, SECRET)
    assert await succeed(endpoint, client_id) == 200


async def test_a_read_that_was_under_way_already_is_no_reason_for_a_401(endpoint: Endpoint) -> None:
    """Its query may have seen its rows before the secret was made."""
    await succeed(endpoint, endpoint.client_id)
    endpoint.later(seconds=5)
    seen, go = asyncio.Event(), asyncio.Event()
    load = endpoint.directory._lookups._load

    async def slow(uids: object) -> object:
        found = await load(uids)  # type: ignore[arg-type]
        seen.set()
        await go.wait()
        return found

    async def poll() -> None:
        endpoint.directory.invalidate([uid_of(endpoint.client_id)])

    endpoint.directory._lookups._load = slow  # type: ignore[assignment]
    endpoint.issuance = replace(endpoint.issuance, next_look=poll)
    endpoint.serve()
    stranger = asyncio.create_task(fail(endpoint, endpoint.client_id))
    await asyncio.wait_for(seen.wait(), 5)
    renew(endpoint, endpoint.client_id, "brand new")
    owner = asyncio.create_task(succeed(endpoint, endpoint.client_id, "brand new"))
    await asyncio.sleep(0.01)
    go.set()
    assert (await stranger).status == 401
    assert await owner == 200


async def test_after_it_waited_a_token_is_of_the_world_as_it_is_then(endpoint: Endpoint) -> None:
    """A policy that came while the request waited is in force for it."""
    await fail(endpoint, endpoint.client_id)

    async def poll() -> None:
        endpoint.directory.invalidate([uid_of(endpoint.client_id)])
        endpoint.snapshot = replace(endpoint.snapshot, terminating=frozenset({"payments"}))

    endpoint.issuance = replace(endpoint.issuance, next_look=poll)
    endpoint.serve()
    renew(endpoint, endpoint.client_id, "brand new")
    assert await succeed(endpoint, endpoint.client_id, "brand new") == 401
    assert endpoint.cause() == "namespace_terminating"


async def test_those_who_wait_are_bounded_for_each_source_and_the_others_hear_429_never_401(endpoint: Endpoint) -> None:
    await fail(endpoint, endpoint.client_id)
    polled = asyncio.Event()

    async def poll() -> None:
        await polled.wait()

    endpoint.issuance = replace(endpoint.issuance, next_look=poll, patience=Places(100, 5))
    endpoint.serve()
    here = [asyncio.create_task(fail(endpoint, endpoint.client_id)) for _ in range(8)]
    await asyncio.sleep(0.05)
    endpoint.peer = ELSEWHERE
    there = asyncio.create_task(fail(endpoint, endpoint.client_id))
    await asyncio.sleep(0.02)
    assert sorted(task.done() for task in here) == [False] * 5 + [True] * 3
    assert not there.done()
    polled.set()
    assert sorted([(await task).status for task in here]) == [401] * 5 + [429] * 3
    assert (await there).status == 401


async def waiting_for_a_poll(
    endpoint: Endpoint, asking: list[Callable[[], Coroutine[None, None, int]]]
) -> tuple[list[int], list[int]]:
    """Asked all at once: the answers before the next poll, and those after it."""
    polled = asyncio.Event()

    async def poll() -> None:
        await polled.wait()
        endpoint.directory.invalidate([uid_of(endpoint.client_id)])

    endpoint.issuance = replace(endpoint.issuance, next_look=poll)
    endpoint.serve()
    tasks: list[asyncio.Task[int]] = []
    for number, ask in enumerate(asking):
        endpoint.peer = f"203.0.113.{number}"
        tasks.append(asyncio.create_task(ask()))
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    before = [task.result() for task in tasks if task.done()]
    late = [task for task in tasks if not task.done()]
    polled.set()
    return before, [await task for task in late]


async def test_under_attack_no_more_wait_for_a_poll_than_may_still_fail(endpoint: Endpoint) -> None:
    """All of an attack waited as soon as one failure more was within the rates, to be refused all at once at the poll."""
    await the_client_is_guessed_from_everywhere(endpoint, endpoint.client_id)
    endpoint.later(seconds=3 * 60 / FailureRates.PER_MINUTE_OF_A_CLIENT)
    await succeed(endpoint, endpoint.client_id)

    async def guess() -> int:
        return (await fail(endpoint, endpoint.client_id)).status

    before, after = await waiting_for_a_poll(endpoint, [guess] * 50)
    assert (before, after) == ([429] * 47, [401] * 3)


async def test_a_whole_fleet_with_a_secret_that_is_new_here_waits_for_the_poll(endpoint: Endpoint) -> None:
    await succeed(endpoint, endpoint.client_id)
    renew(endpoint, endpoint.client_id, "brand new")

    async def start() -> int:
        return await succeed(endpoint, endpoint.client_id, "brand new")

    before, after = await waiting_for_a_poll(endpoint, [start] * 100)
    assert (before, after) == ([], [200] * 100)


# --- whose failures they are ------------------------------------------------------------------------------------------


async def test_behind_a_trusted_proxy_each_client_has_its_own_rate(ring: Ring) -> None:
    endpoint = Endpoint(ring, trusted_proxies=[ip_network("192.0.2.0/24")])

    async def ask(forwarded: str) -> int:
        headers = [
            ("authorization", basic(endpoint.client_id, "wrong")),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-forwarded-for", forwarded),
        ]
        answer = await endpoint.send("POST", "/oauth2/token", headers, b"grant_type=client_credentials")
        return answer.status_code

    first = [await ask("203.0.113.1") for _ in range(FailureRates.PER_MINUTE + 1)]
    assert first == [401] * FailureRates.PER_MINUTE + [429]
    assert await ask("203.0.113.2") == 401
    assert await ask("198.51.100.99, 203.0.113.1") == 429, "what the client wrote himself does not help him"
    endpoint.peer = ELSEWHERE
    assert await ask("203.0.113.77") == 401
    assert endpoint.events[-2].source == ELSEWHERE  # type: ignore[union-attr]


async def test_an_ipv6_network_of_64_bits_is_one_source(endpoint: Endpoint) -> None:
    for number in range(FailureRates.PER_MINUTE):
        endpoint.peer = f"2001:db8:1:2::{number:x}"
        assert (await fail(endpoint, endpoint.client_id)).status == 401
    endpoint.peer = "2001:db8:1:2:ffff::1"
    assert (await fail(endpoint, endpoint.client_id)).status == 429
    endpoint.peer = "2001:db8:1:3::1"
    assert (await fail(endpoint, endpoint.client_id)).status == 401
