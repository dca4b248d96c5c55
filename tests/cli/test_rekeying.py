"""`issuer rekey` says how far it is: a line every few seconds where nobody sits at a terminal."""

import pytest

from issuer.cli import rekeying


def test_without_a_terminal_progress_is_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    with rekeying._progress(lambda: now) as progressed:
        for second in range(12):
            now = 100.0 + second
            progressed(second * 1_000, 20_000)
    told = capsys.readouterr()
    assert told.err.splitlines() == ["5,000 of 20,000 wrapped anew", "10,000 of 20,000 wrapped anew"]
    assert told.out == ""


def test_on_a_terminal_it_is_a_bar_that_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with rekeying._progress(lambda: 0.0) as progressed:
        progressed(5_000, 20_000)
    told = capsys.readouterr()
    assert "5000/20000" in told.err
    assert told.err.endswith("\x1b[2K")
    assert told.out == ""
