"""Signers: one private key each, of the kid they say, and nothing of it to be seen."""

import pytest
from joserfc.errors import InvalidKeyTypeError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from issuer.signing.signer import ALGORITHMS, GeneratedKey, Signer, generate_key
from issuer.signing.ticket import TokenIdentity, prepare_access_token
from tests.governance.builders import allowed, grant

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module")
def generated() -> dict[str, GeneratedKey]:
    return {algorithm: generate_key(algorithm) for algorithm in ALGORITHMS}


def test_algorithms_are_those_of_keysets_under_their_jose_names() -> None:
    """DESIGN section 6: Ed25519 is labelled `EdDSA`."""
    assert {name: row.jose_name for name, row in ALGORITHMS.items()} == {
        "ES256": "ES256",
        "RS256": "RS256",
        "Ed25519": "EdDSA",
    }


@every_algorithm
def test_a_private_half_of_another_kid_is_refused(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    with pytest.raises(ValueError, match="belongs to another key") as caught:
        Signer("another-kid", algorithm, generated[algorithm].private_pem)
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(("algorithm", "other"), [("ES256", "RS256"), ("RS256", "ES256"), ("Ed25519", "ES256")])
def test_a_key_of_another_algorithm_is_refused(generated: dict[str, GeneratedKey], algorithm: str, other: str) -> None:
    key = generated[other]
    with pytest.raises(InvalidKeyTypeError):
        Signer(key.kid, algorithm, key.private_pem)


@every_algorithm
def test_an_algorithm_without_a_row_is_refused(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    key = generated[algorithm]
    for unknown in ("none", "HS256", "RS512", algorithm.lower()):
        with pytest.raises(KeyError):
            Signer(key.kid, unknown, key.private_pem)


@every_algorithm
def test_keys_are_strong_enough_and_fresh(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    key = ALGORITHMS[algorithm].load(generated[algorithm].private_pem)
    if isinstance(key, RSAKey):
        assert key.raw_value.key_size >= 2048
    elif isinstance(key, ECKey):
        assert key.curve_name == "P-256"
    else:
        assert isinstance(key, OKPKey)
        assert key.curve_name == "Ed25519"
    assert generate_key(algorithm).kid != generated[algorithm].kid


@every_algorithm
def test_the_public_half_holds_nothing_private(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    key = generated[algorithm]
    private = ALGORITHMS[algorithm].load(key.private_pem).as_dict(private=True)
    assert "d" in private
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.public_jwk.keys()
    assert str(private["d"]) not in repr(key.public_jwk)


@every_algorithm
def test_key_material_is_in_no_repr(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    key = generated[algorithm]
    said = f"{key!r} {key} {Signer(key.kid, algorithm, key.private_pem)!r}"
    private = ALGORITHMS[algorithm].load(key.private_pem).as_dict(private=True)
    assert "PRIVATE KEY" not in said
    assert str(private["d"]) not in said


def test_a_signer_signs_nothing_but_tickets(generated: dict[str, GeneratedKey]) -> None:
    signer = Signer(generated["ES256"].kid, "ES256", generated["ES256"].private_pem)
    with pytest.raises(AttributeError):
        signer.sign({"sub": "anybody"})  # type: ignore[arg-type]


@every_algorithm
def test_segments_are_base64url_without_padding(generated: dict[str, GeneratedKey], algorithm: str) -> None:
    """RFC 7515 section 2. Twenty subjects, so that every length modulo 3 comes up."""
    key = generated[algorithm]
    signer = Signer(key.kid, algorithm, key.private_pem)
    alphabet = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    for length in range(20):
        decision = allowed(grant(client_id="s" * length, claims={"x": "ÿ?>" * length}), ("a",), "https://a", 600)
        token = signer.sign(prepare_access_token(decision, TokenIdentity("https://i", "j", 0, "secret/1")))
        assert set(token) <= alphabet
        assert token.count(".") == 2
