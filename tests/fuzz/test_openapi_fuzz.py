"""What the OpenAPI document promises is what a server does: a short run here, ten minutes by `make fuzz`."""

import os
from pathlib import Path

from tests.databases import Databases
from tests.fuzz.running import fuzz

SHORT = ("--phases=examples,fuzzing,stateful", "--max-examples=2", "--seed=1", "--no-color")


def test_a_server_keeps_every_promise_of_its_document(databases: Databases, tmp_path: Path) -> None:
    seconds = os.environ.get("FUZZ_S")
    options = SHORT if seconds is None else (f"--max-time={seconds}", "--continue-on-failure")
    ended = fuzz(databases, tmp_path, *options, live=seconds is not None)
    assert ended.failed == [], "the server had no answer"
    assert ended.exit_code == 0, ended.said[-10_000:]
    assert ended.still_allowed, "the fuzzer locked itself out: from then on it saw nothing but 401"
    # A run that is never let in sees nothing. What a short one happens to write depends on every line of the document.
    sure = {"create"} if seconds is None else {"create", "update", "patch", "delete", "create credentials"}
    assert ended.written.keys() >= sure
