"""TLS of a port: renewed without a restart, and never left half renewed."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from issuer.events import CertificateLoaded, CertificateRefused, Event
from issuer.settings import SettingsError, load_settings
from issuer.web.listen import Port, serve_ports
from issuer.web.tls import Certificate, CertificateError
from tests.web.test_connection import app


class Authority:
    """A certificate authority, and the two files a port is configured with."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.chain, self.key = folder / "tls.crt", folder / "tls.key"
        self.renew()

    def renew(self, name: str = "127.0.0.1") -> str:
        """Another certificate in the same place; its serial number."""
        issued = self.ca.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(self.chain)
        issued.private_key_pem.write_to_path(self.key)
        return name

    @property
    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def names(address: tuple[str, int], client: ssl.SSLContext) -> str:
    """What the server's certificate is for."""
    client.check_hostname = False
    with socket.create_connection(address) as line, client.wrap_socket(line, server_hostname="x") as secured:
        found = secured.getpeercert()
        assert found is not None
        return str(found["subjectAltName"][0][1])


async def test_a_renewed_certificate_serves_new_connections_and_an_unusable_one_changes_nothing(
    authority: Authority,
) -> None:
    events: list[Event] = []
    certificate = Certificate(authority.chain, authority.key, events.append)
    listener = socket.create_server(("127.0.0.1", 0))
    address, stop, ready = listener.getsockname(), asyncio.Event(), asyncio.Event()

    async def no_drain() -> None:
        pass

    running = asyncio.create_task(serve_ports([Port(app, listener, certificate.context)], stop, ready.set, no_drain))
    await ready.wait()
    try:

        async def shown() -> str:
            return await asyncio.to_thread(names, address, authority.client)

        async with httpx.AsyncClient(verify=authority.client) as kept:
            url = f"https://127.0.0.1:{address[1]}/"
            assert (await kept.get(url)).text == "/ 0"
            authority.renew("renewed.example")
            certificate.reload()
            assert await shown() == "renewed.example"
            assert (await kept.get(url)).text == "/ 0", "a connection that stands keeps the certificate it began with"
        authority.chain.write_text("no certificate")
        certificate.reload()
        authority.renew("half.example")
        whole = authority.key.read_bytes()
        Authority(authority.chain.parent)  # another key beside the chain of an instant before
        authority.renew("other.example")
        authority.key.write_bytes(whole)
        certificate.reload()
        assert await shown() == "renewed.example"
        assert [type(event) for event in events] == [CertificateLoaded, CertificateRefused, CertificateRefused]
        authority.renew("whole.example")
        certificate.reload()
        certificate.reload()
        assert await shown() == "whole.example"
        assert len(events) == 4
    finally:
        stop.set()
        await running


async def test_old_versions_of_tls_are_refused(authority: Authority) -> None:
    certificate = Certificate(authority.chain, authority.key, lambda _: None)
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda each: each.chain.unlink(), "No such file or directory"),
        (lambda each: each.key.write_text("x"), "NO_START_LINE|PEM|no start line"),
        (lambda each: each.key.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes()), "MISMATCH|mismatch"),
    ],
    ids=["no chain", "no key", "another key"],
)
def test_a_certificate_that_cannot_be_used_stops_the_start_in_plain_words(
    authority: Authority, broken: object, why: str
) -> None:
    broken(authority)  # type: ignore[operator]
    with pytest.raises(CertificateError, match=why) as refused:
        Certificate(authority.chain, authority.key, lambda _: None)
    assert str(authority.chain) in str(refused.value)


def test_certificate_and_key_are_configured_together(authority: Authority) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        load_settings(public_certificate_file=str(authority.chain))
