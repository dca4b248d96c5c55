"""The ticket: no unsigned token without a decision, and none signed twice."""

from typing import Any

import pytest

from issuer.failures import Failure
from issuer.policy.decide import Denied
from issuer.signing.signer import Signer, generate_key
from issuer.signing.ticket import (
    Ticket,
    TicketError,
    TokenIdentity,
    prepare_access_token,
    prepare_id_token,
)
from tests.governance.builders import allowed, grant

ALLOWED = allowed(grant(), ("a",), "https://a", 600)
IDENTITY = TokenIdentity("https://issuer.example", "jti", 1_000, "secret/1")

prepared = pytest.mark.parametrize("prepare", [prepare_access_token, prepare_id_token])


@pytest.mark.parametrize("key", [None, True, object(), "_ISSUED_BY_PREPARE"])
def test_a_ticket_cannot_be_made_by_hand(key: object) -> None:
    with pytest.raises(TicketError, match="only prepare"):
        Ticket("at+jwt", {"sub": "anybody"}, key=key)


@prepared
def test_a_ticket_is_redeemed_once(prepare: Any) -> None:
    ticket = prepare(ALLOWED, IDENTITY)
    assert ticket.redeem()["sub"] == "sa-u"
    with pytest.raises(TicketError, match="redeemed before"):
        ticket.redeem()


@prepared
def test_a_ticket_is_signed_once(prepare: Any) -> None:
    generated = generate_key("ES256")
    signer = Signer(generated.kid, "ES256", generated.private_pem)
    ticket = prepare(ALLOWED, IDENTITY)
    assert signer.sign(ticket).count(".") == 2
    with pytest.raises(TicketError):
        signer.sign(ticket)


@prepared
def test_a_ticket_takes_no_further_attributes(prepare: Any) -> None:
    with pytest.raises(AttributeError):
        prepare(ALLOWED, IDENTITY).claims = {}


@prepared
def test_a_refusal_makes_no_ticket(prepare: Any) -> None:
    with pytest.raises(AttributeError):
        prepare(Denied(Failure.SCOPE_WITHHELD, ""), IDENTITY)


@prepared
def test_lifetime_is_what_the_decision_said(prepare: Any) -> None:
    claims = prepare(ALLOWED, IDENTITY).redeem()
    assert (claims["iat"], claims["exp"]) == (1_000, 1_600)
