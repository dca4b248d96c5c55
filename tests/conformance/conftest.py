"""One in-memory public port for the tables of rules; what is about stored state asks for a `world`."""

import pytest

from tests.conformance.effort import Hmacs
from tests.conformance.endpoint import Endpoint, Ring, generated_ring


@pytest.fixture(scope="session")
def ring() -> Ring:
    """The keys of every endpoint of the session."""
    return generated_ring()


@pytest.fixture
def endpoint(ring: Ring) -> Endpoint:
    """A public port with one account."""
    return Endpoint(ring)


@pytest.fixture
def hmacs(monkeypatch: pytest.MonkeyPatch) -> Hmacs:
    """Counts the HMACs of the code under test."""
    return Hmacs(monkeypatch)
