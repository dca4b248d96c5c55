"""What the whole suite is held against finds a secret, however it is written, and nothing else."""

from base64 import b64encode, urlsafe_b64encode

import pytest

from issuer.credentials import format_secret
from tests.canary.shapes import assert_no_secret
from tests.world import World, basic

SECRET = format_secret(b"\x07" * 32)
WRITTEN = {
    "as it is": SECRET,
    "in the middle": f"x={SECRET}&y",
    "in hex": SECRET.encode().hex(),
    "as bytea": f"\\x{b'client_secret='.hex()}{SECRET.encode().hex()}",
    **{f"in base64 behind {number}": b64encode(b"x" * number + SECRET.encode()).decode() for number in range(4)},
    "in base64url": urlsafe_b64encode(SECRET.encode()).decode(),
    "in a header": basic("sa-1", SECRET),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_client_secret_is_found_however_it_is_written(how: str) -> None:
    with pytest.raises(AssertionError) as failure:
        assert_no_secret(f"before {WRITTEN[how]} after", "a text")
    assert SECRET not in str(failure.value)
    assert WRITTEN[how] not in str(failure.value)


async def test_so_are_tokens_headers_and_private_keys(world: World) -> None:
    token = await world.admin_token()
    for text in (
        token,
        f"Bearer {token}",
        '{"d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}',
        "-----BEGIN PRIVATE KEY-----",
    ):
        with pytest.raises(AssertionError, match="in a text"):
            assert_no_secret(text, "a text")


@pytest.mark.parametrize(
    "text",
    [
        "isk1_wrong",
        "eyJhbGciOiJFUzI1NiJ9",
        "Basic realm",
        "Bearer token",
        '{"x": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE", "y": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}',
        "-----BEGIN CERTIFICATE-----",
        "sa-3f0c2b44-8c1e-4c3e-9d56-0f9a1c2b3d4e",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert_no_secret(text, "a text")
