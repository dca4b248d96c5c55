"""What `issuer audit verify` makes of a record nobody touched: crashes, living writers, parts of it."""

from datetime import timedelta

from issuer.administration.verification import EARLIER, Period
from tests.evidence.ledger import Ledger


async def test_tokens_of_a_running_server_verify(ledger: Ledger) -> None:
    client = await ledger.world.account()
    for _ in range(3):
        assert (await client.token()).status_code == 200
    assert (await client.token(scope="api:unheard-of")).status_code == 400
    result = await ledger.verify()
    assert (result.faults.told, result.decisions) == ([], 5)
    assert sum(each.records for each in result.unfinished if each.chain.int) == 5
    await ledger.world.issuer.recorder.finish()
    await ledger.attest()
    result = await ledger.verify()
    assert (result.faults.told, result.unfinished) == ([], [])


async def test_before_the_first_checkpoint_everything_is_unfinished_and_nothing_broken(ledger: Ledger) -> None:
    result = await ledger.verify()
    assert (result.faults.told, result.newest) == ([], None)


async def test_the_tail_of_a_crash_and_a_living_writer_are_unfinished(ledger: Ledger) -> None:
    crashed, living = await ledger.writer(), await ledger.writer()
    now = ledger.world.clock.now()
    for writer in (crashed, living):
        await writer.write(2, now)
    await ledger.attest()
    await crashed.write(3, now, tell=False)
    await living.write(1, now)
    result = await ledger.verify()
    assert result.faults.told == []
    unfinished = {each.chain: (each.records, each.ended) for each in result.unfinished}
    assert (unfinished[crashed.writer], unfinished[living.writer]) == ((3, False), (1, False))


async def test_what_is_behind_the_last_checkpoint_is_held_against_its_chain_all_the_same(ledger: Ledger) -> None:
    writer = await ledger.writer()
    await writer.write(2, ledger.world.clock.now())
    await ledger.attest()
    await writer.write(2, ledger.world.clock.now(), tell=False)
    await ledger.execute("UPDATE decision_records SET ttl_s = 1 WHERE sequence = 4")
    assert [kind for kind, _ in await ledger.says()] == ["record changed"]


async def test_what_a_writer_told_and_no_checkpoint_yet_is_missed_too(ledger: Ledger) -> None:
    writer = await ledger.writer()
    await writer.write(3, ledger.world.clock.now())
    await ledger.execute(f"DELETE FROM decision_records WHERE writer = '{writer.writer}' AND sequence = 3")  # noqa: S608
    ((kind, says),) = await ledger.says()
    assert kind == "end of a chain missing"
    assert says.endswith("1 more, as its own writer told, are missing")


class TestPartsOfIt:
    """`--from` and `--until`."""

    async def test_a_part_verifies_wherever_it_begins_and_ends(self, ledger: Ledger) -> None:
        start = ledger.world.clock.now()
        one, two = await ledger.writer(), await ledger.writer()
        for hour in range(6):
            ledger.world.clock.instant = start + timedelta(hours=hour)
            await one.write(2, ledger.world.clock.now())
            if hour % 2:
                await two.write(1, ledger.world.clock.now())
            await ledger.attest()
        for since in (None, *(start + timedelta(hours=hour) for hour in range(7))):
            for until in (None, *(start + timedelta(hours=hour + 0.5) for hour in range(7))):
                result = await ledger.verify(Period(since, until))
                assert result.faults.told == [], (since, until)

    async def test_a_change_within_it_is_found_and_one_outside_is_not(self, ledger: Ledger) -> None:
        start = ledger.world.clock.now()
        writer = await ledger.writer()
        rows = await writer.write(2, start)
        rows += await writer.write(2, start + timedelta(days=1))
        changed = rows[2].record.id
        await ledger.execute(f"UPDATE decision_records SET ttl_s = 1 WHERE id = '{changed}'")  # noqa: S608
        later, earlier = Period(start + timedelta(days=2)), Period(None, start + timedelta(hours=1))
        assert (await ledger.verify(later)).faults.told == []
        assert (await ledger.verify(earlier)).faults.told == []
        within = await ledger.verify(Period(start + timedelta(hours=1) - EARLIER))
        assert [fault.record for fault in within.faults.told] == [changed]

    async def test_a_first_record_in_view_that_has_nothing_before_it_is_said_to_be_unproven(
        self, ledger: Ledger
    ) -> None:
        start = ledger.world.clock.now()
        writer = await ledger.writer()
        await writer.write(2, start)
        await writer.write(2, start + timedelta(days=1))
        result = await ledger.verify(Period(start + timedelta(days=1)))
        assert (result.faults.told, result.decisions, result.unproven) == ([], 2, 1)
