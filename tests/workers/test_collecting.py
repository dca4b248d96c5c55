"""The cycle collector of a serving process: what was there at its start is never walked again."""

import gc
import subprocess
import sys

LOOKS = """
import gc
import issuer.cli
from issuer.serving import _collect_garbage_seldom
before = len(gc.get_objects())
_collect_garbage_seldom()
print(before, gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0])
"""


def test_a_whole_collection_walks_nothing_of_what_was_there_at_the_start() -> None:
    said = subprocess.run((sys.executable, "-c", LOOKS), capture_output=True, text=True, check=True).stdout
    before, frozen, walked, young = map(int, said.split())
    assert frozen > 0.8 * before > 10_000
    assert walked < before / 100
    assert young > gc.get_threshold()[0]
