"""Sealing (DESIGN section 7): an envelope opens for its master key, its purpose and its owner, and for nothing else."""

import base64
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.signing.sealing import MasterKey, MasterKeyError, SealError, generate_master_key_line, load_master_key

KEY = b"k" * 32
OTHER = b"o" * 32
MASTER = MasterKey("k1", MappingProxyType({"k1": KEY}))
SEALED = MASTER.seal(b"plaintext", purpose="pepper", owner="p1")


def line(key_id: str, key: bytes = KEY) -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_what_was_sealed_opens_again(plaintext: bytes, purpose: str, owner: str) -> None:
    blob = MASTER.seal(plaintext, purpose=purpose, owner=owner)
    assert MASTER.unseal(blob, purpose=purpose, owner=owner) == plaintext


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_any_changed_byte_is_refused(position: int) -> None:
    for change in (0x01, 0x80, 0xFF):
        changed = bytearray(SEALED)
        changed[position] ^= change
        with pytest.raises(SealError):
            MASTER.unseal(bytes(changed), purpose="pepper", owner="p1")


def test_any_truncation_is_refused() -> None:
    for length in range(len(SEALED)):
        with pytest.raises(SealError):
            MASTER.unseal(SEALED[:length], purpose="pepper", owner="p1")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_stands_in_the_database_is_a_seal_error(blob: bytes) -> None:
    with pytest.raises(SealError):
        MASTER.unseal(blob, purpose="pepper", owner="p1")


ELSEWHERE = {
    "another purpose": ("signing-key", "p1"),
    "another owner": ("pepper", "p2"),
    "the boundary between them moved": ("pepperp", "1"),
    "no purpose": ("", "pepperp1"),
    "no owner": ("pepperp1", ""),
    "the two exchanged": ("p1", "pepper"),
}


@pytest.mark.parametrize(("purpose", "owner"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_blob_copied_into_another_row_does_not_open_there(purpose: str, owner: str) -> None:
    with pytest.raises(SealError):
        MASTER.unseal(SEALED, purpose=purpose, owner=owner)


def test_every_blob_has_its_own_data_key_and_nonces() -> None:
    blobs = {MASTER.seal(b"", purpose="", owner="") for _ in range(50)}
    assert len({blob[4:] for blob in blobs}) == 50


def test_a_blob_begins_with_format_and_kek_id() -> None:
    assert SEALED[:4] == b"\x01\x02k1"


def test_an_unknown_format_says_so() -> None:
    with pytest.raises(SealError, match="not in a format this version reads"):
        MASTER.unseal(b"\x02" + SEALED[1:], purpose="pepper", owner="p1")


def test_an_unknown_master_key_is_named() -> None:
    renamed = MasterKey("k2", MappingProxyType({"k2": KEY}))
    with pytest.raises(SealError, match="master key 'k1', which is not among those given"):
        renamed.unseal(SEALED, purpose="pepper", owner="p1")


def test_the_current_key_wraps_and_all_unwrap() -> None:
    both = load_master_key(line("k2", OTHER) + "\n" + line("k1"), None)
    assert both.current == "k2"
    assert both.unseal(SEALED, purpose="pepper", owner="p1") == b"plaintext"
    blob = both.seal(b"new", purpose="pepper", owner="p1")
    with pytest.raises(SealError, match="'k2'"):
        MASTER.unseal(blob, purpose="pepper", owner="p1")


# --- another master key ----------------------------------------------------------------------------------------------

BOTH = MasterKey("k2", MappingProxyType({"k2": OTHER, "k1": KEY}))
NEW = MasterKey("k2", MappingProxyType({"k2": OTHER}))


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_what_is_wrapped_anew_opens_under_the_new_key_alone(plaintext: bytes, purpose: str, owner: str) -> None:
    blob = MASTER.seal(plaintext, purpose=purpose, owner=owner)
    anew = BOTH.rewrap(blob, purpose=purpose, owner=owner)
    assert NEW.unseal(anew, purpose=purpose, owner=owner) == plaintext
    with pytest.raises(SealError, match="'k2', which is not among those given"):
        MASTER.unseal(anew, purpose=purpose, owner=owner)


def test_wrapping_anew_leaves_the_payload_alone() -> None:
    anew = BOTH.rewrap(SEALED, purpose="pepper", owner="p1")
    head = 2 + len("k2") + 12 + 48
    assert anew[head:] == SEALED[head:]
    assert anew[4:head] != SEALED[4:head]


@pytest.mark.parametrize(("purpose", "owner"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_blob_from_another_row_is_not_wrapped_anew(purpose: str, owner: str) -> None:
    with pytest.raises(SealError):
        BOTH.rewrap(SEALED, purpose=purpose, owner=owner)


def test_a_damaged_payload_is_found_when_it_is_opened() -> None:
    anew = BOTH.rewrap(SEALED[:-1] + bytes([SEALED[-1] ^ 1]), purpose="pepper", owner="p1")
    with pytest.raises(SealError, match="is damaged"):
        BOTH.unseal(anew, purpose="pepper", owner="p1")


def test_keys_that_are_missing_are_named_with_those_that_are_there() -> None:
    BOTH.require(["k1", "k2"])
    with pytest.raises(MasterKeyError, match=r"under 'k0', 'k9', and given was only 'k2', 'k1'\. Give that line"):
        BOTH.require(["k9", "k1", "k0"])


# --- the check value --------------------------------------------------------------------------------------------------


def test_the_right_master_key_passes_its_check() -> None:
    MASTER.check(MASTER.check_blob())


@pytest.mark.parametrize(
    "wrong",
    [MasterKey("k1", MappingProxyType({"k1": OTHER})), MasterKey("k2", MappingProxyType({"k2": KEY}))],
    ids=["another key of the same id", "another id"],
)
def test_a_wrong_master_key_is_told_what_to_do(wrong: MasterKey) -> None:
    with pytest.raises(MasterKeyError, match="not the master key of this database") as caught:
        wrong.check(MASTER.check_blob())
    assert "ISSUER_MASTER_KEY_FILE" in str(caught.value)


def test_another_blob_is_no_check_value() -> None:
    with pytest.raises(MasterKeyError):
        MASTER.check(SEALED)


# --- reading it -------------------------------------------------------------------------------------------------------

READ = {
    "one line": line("k1"),
    "a line feed at the end": line("k1") + "\n",
    "white space around it": f"  {line('k1')}  \n",
    "comments and empty lines": f"# the key\n\n{line('k1')}\n\n",
    "Windows line ends": line("k1") + "\r\n",
    "the first is current": line("k1") + "\n" + line("k0", OTHER),
    "what generate writes": generate_master_key_line("k1"),
    "the longest id": line("k" * 64),
}


@pytest.mark.parametrize("text", READ.values(), ids=READ.keys())
def test_reads(text: str, tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    file.write_text(text)
    from_text, from_file = load_master_key(text, None), load_master_key(None, file)
    assert from_text == from_file
    assert from_text.current.startswith("k")
    assert from_text.current != "k0"


FAULTS = {
    "empty": ("", "is empty"),
    "only a comment": ("# k1:abc", "is empty"),
    "no id": (":" + base64.b64encode(KEY).decode(), "Line 1"),
    "no colon": (base64.b64encode(KEY).decode(), "Line 1"),
    "31 bytes": (line("k1", KEY[1:]), "Line 1"),
    "33 bytes": (line("k1", KEY + b"k"), "Line 1"),
    "not base64": ("k1:" + "!" * 44, "Line 1"),
    "hexadecimal": ("k1:" + KEY.hex(), "Line 1"),
    "not ASCII where base64 should be": ("k1:" + "ä" * 44, "Line 1"),
    "an id that is not ASCII": (line("schlüssel"), "Line 1"),
    "an id of 65 characters": (line("k" * 65), "Line 1"),
    "the second line": (line("k1") + "\nk2:abc", "Line 2"),
    "an id twice": (line("k1") + "\n" + line("k1", OTHER), "twice"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_without_the_key(text: str, said: str) -> None:
    with pytest.raises(MasterKeyError, match=said) as caught:
        load_master_key(text, None)
    encoded = [part for row in text.splitlines() for part in row.split(":") if len(part) > 30 and set(part) != {"k"}]
    assert not any(part in str(caught.value) for part in encoded)


def test_no_master_key_at_all_says_how_to_make_one() -> None:
    with pytest.raises(MasterKeyError, match="openssl rand -base64 32"):
        load_master_key(None, None)


def test_both_ways_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match="use one of them"):
        load_master_key(line("k1"), tmp_path / "x")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match=r"missing\.key cannot be read: No such file"):
        load_master_key(None, tmp_path / "missing.key")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"\xff\xfe")
    with pytest.raises(MasterKeyError, match="it is not text"):
        load_master_key(None, tmp_path / "master.key")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_whatever_was_given_is_a_key_or_a_master_key_error(text: str) -> None:
    try:
        made = load_master_key(text, None)
    except MasterKeyError:
        return
    assert {len(key) for key in made.keys.values()} == {32}


def test_key_material_is_in_no_repr() -> None:
    shown = repr(MASTER)
    assert "kkkk" not in shown
    assert base64.b64encode(KEY).decode() not in shown


def test_key_material_and_plaintext_are_in_no_error() -> None:
    with pytest.raises(SealError) as caught:
        MASTER.unseal(SEALED, purpose="pepper", owner="p2")
    assert "plaintext" not in str(caught.value)
    assert "kkkk" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_generated_lines_are_fresh_keys() -> None:
    made = {load_master_key(generate_master_key_line("a"), None).keys["a"] for _ in range(20)}
    assert len(made) == 20
