"""`issuer keys` against a running server: what it shows, what it does, and what it says when it may not."""

import re

from tests.blackbox.conftest import Cli
from tests.blackbox.processes import eventually


def rows(cli: Cli, *keyset: str) -> list[list[str]]:
    """The table without its header, cell by cell."""
    listed = cli("keys", "list", *keyset)
    assert listed.exit_code == 0, listed.output
    header, *lines = listed.stdout.splitlines()
    assert header.split() == ["KEYSET", "KID", "ALGORITHM", "STATE", "SINCE", "NEXT"]
    return [re.split(r"\s{3,}", line.strip()) for line in lines]


def states(cli: Cli, keyset: str) -> list[str]:
    return [row[3] for row in rows(cli, keyset)]


def test_the_table_says_how_every_key_stands_and_what_happens_next(cli: Cli) -> None:
    table = rows(cli)
    assert {row[0] for row in table} >= {"default", "rs256"}
    active, spare = [row for row in table if row[0] == "rs256"]
    assert (active[2], active[3]) == ("RS256", "active")
    assert re.fullmatch(r"signs until \S+Z \(in \d+d\)", active[5])
    assert spare[3] == "pending"
    assert re.fullmatch(r"signs from \S+Z \(in \d+d\)", spare[5])
    assert "NEXT ROTATION" in cli("get", "keysets").stdout


def test_a_rotation_too_early_is_refused_with_a_way_out_that_works(cli: Cli) -> None:
    cli("keys", "rotate", "default", "--emergency")
    eventually(lambda: "pending" in states(cli, "default"))
    refused = cli("keys", "rotate", "default")
    assert refused.exit_code == 1
    assert "verifiers may not know it before" in refused.stderr
    assert "hint: `issuer keys list` shows when; --emergency does it now" in refused.stderr
    done = cli("keys", "rotate", "default", "--emergency")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"keyset/default rotated: \S{43} signs now\n", done.stdout)


def test_a_key_that_leaked_leaves_and_the_commands_go_on(cli: Cli) -> None:
    (leaked,) = [row[1] for row in rows(cli, "rs256") if row[3] == "active"]
    done = cli("keys", "compromise", "rs256")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(rf"keyset/rs256: {leaked} left the JWKS; \S{{43}} signs now\n", done.stdout)
    assert re.search(r"It signed from \S+Z to \S+Z\. Tokens of that time are refused", done.stderr)
    assert leaked in [row[1] for row in rows(cli, "rs256") if row[3] == "compromised"]
    again = cli("keys", "compromise", "rs256", "--kid", leaked)
    assert again.exit_code == 0, again.output


def test_what_is_not_there_is_said_with_what_is(cli: Cli) -> None:
    for words in (("list", "nowhere"), ("rotate", "nowhere"), ("compromise", "nowhere")):
        missing = cli("keys", *words)
        assert missing.exit_code == 1
        assert "keyset/nowhere: KeySet 'nowhere' not found" in missing.stderr
        assert "hint: `issuer get keysets` shows which there are" in missing.stderr
    wrong = cli("keys", "compromise", "default", "--kid", "x")
    assert "is no key of KeySet 'default'" in wrong.stderr
