"""The cycle collector of a serving process: what is there for good is never walked while somebody waits."""

import asyncio
import gc
import subprocess
import sys

from tests.blackbox.processes import ROOT
from tests.web.test_connection import GET, serving, status

LOOKS = """
import gc
import issuer.cli
from issuer.serving import collect_garbage_seldom
gc.collect()
before = len(gc.get_objects())
collect_garbage_seldom()
frozen, walked = gc.get_freeze_count(), len(gc.get_objects())
whole = gc.get_stats()[2]["collections"]
accounts = [{"labels": [number]} for number in range(500_000)]
print(before, frozen, walked, gc.get_stats()[2]["collections"] - whole)
"""


def test_a_collection_walks_nothing_of_what_was_there_at_the_start_and_not_all_that_came_since() -> None:
    said = subprocess.run((sys.executable, "-c", LOOKS), capture_output=True, text=True, check=True).stdout
    before, frozen, walked, whole = map(int, said.split())
    assert frozen > 0.8 * before > 10_000
    assert walked < before / 100
    assert whole == 0


VISITS = """
import uvloop
from tests.workers.test_collecting import left_by_visits
print(uvloop.run(left_by_visits(20)))
"""


def test_a_connection_and_its_requests_leave_nothing_for_the_collector() -> None:
    """In a process of its own: what other tests have left here may become garbage at any moment."""
    said = subprocess.run((sys.executable, "-c", VISITS), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert int(said) < 20


async def left_by_visits(number: int) -> int:
    """How many objects only the collector can free after so many connections."""
    async with serving() as connect:

        async def visit() -> None:
            reader, writer = await connect()
            for _ in range(3):
                writer.write(GET + b"\r\n")
                assert await status(reader) == 200
                await reader.readexactly(3)
            writer.close()
            await writer.wait_closed()

        await visit()
        await asyncio.sleep(0.1)
        gc.collect()
        gc.disable()
        try:
            for _ in range(number):
                await visit()
            await asyncio.sleep(0.1)
            return gc.collect()
        finally:
            gc.enable()
