"""`trusted_proxies`: networks as people write them; nothing that would let a client choose whom it is counted as."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from issuer.settings import SettingsError, load_settings

WRITTEN = {
    "10.0.0.0/8": ["10.0.0.0/8"],
    "10.0.0.0/8,192.0.2.7": ["10.0.0.0/8", "192.0.2.7/32"],
    " 10.0.0.0/8 , 2001:db8::/48, ": ["10.0.0.0/8", "2001:db8::/48"],
    "::1": ["::1/128"],
    "10.0.0.0/255.0.0.0": ["10.0.0.0/8"],
}


@pytest.mark.parametrize(("text", "networks"), WRITTEN.items())
def test_they_are_written_with_commas_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, networks: list[str]
) -> None:
    monkeypatch.setenv("ISSUER_TRUSTED_PROXIES", text)
    assert load_settings().trusted_proxies == tuple(map(ip_network, networks))


def test_nobody_is_trusted_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISSUER_TRUSTED_PROXIES", raising=False)
    assert load_settings().trusted_proxies is None


@pytest.mark.parametrize("text", ["trusted_proxies: [10.0.0.0/8, '::1']", "trusted_proxies: '10.0.0.0/8, ::1'"])
def test_or_as_a_list_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("ISSUER_TRUSTED_PROXIES", raising=False)
    config = tmp_path / "issuer.yaml"
    config.write_text(text + "\n", encoding="utf-8")
    assert load_settings(config).trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))


REFUSED = {
    "10.0.0.0/33": "'10.0.0.0/33' is not an address or a network such as 10.0.0.0/8",
    "proxy.example": "is not an address or a network",
    "*": "is not an address or a network",
    "10.0.0.5/8": "10.0.0.5/8 is an address within 10.0.0.0/8; write the one or the other",
    "0.0.0.0/0": "0.0.0.0/0 is everybody",
    "10.0.0.0/8, ::/0": "::/0 is everybody",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_is_refused_says_why(monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    monkeypatch.setenv("ISSUER_TRUSTED_PROXIES", text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert why in str(caught.value)


@pytest.mark.parametrize("value", ["10.0.0.0/33, 192.0.2.7, foo", ["10.0.0.0/33", "192.0.2.7", "foo"]])
def test_every_one_that_is_refused_is_named(value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(trusted_proxies=value)
    said = str(caught.value)
    assert "trusted_proxies.0: '10.0.0.0/33' is not" in said
    assert "trusted_proxies.2: 'foo' is not" in said
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize("value", [7, [7], {"a": 1}, [None]])
def test_a_file_may_hold_nothing_else(value: object) -> None:
    with pytest.raises(SettingsError, match=r"trusted_proxies: must be networks such as 10\.0\.0\.0/8"):
        load_settings(trusted_proxies=value)
