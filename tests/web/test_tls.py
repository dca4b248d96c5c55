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
from issuer.web import handshake
from issuer.web.listen import Port, serve_ports
from issuer.web.tls import Certificate, CertificateError
from tests.web.test_connection import GET, app, ended, serving, status_of_another


class Authority:
    """A certificate authority, and the two files a port is configured with."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.chain, self.key = folder / "tls.crt", folder / "tls.key"
        self.renew()

    def renew(self, name: str = "127.0.0.1", key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> str:
        """Another certificate in the same place; its name."""
        issued = self.ca.issue_cert(name, key_type=key_type)
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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_renewed_certificate_may_have_a_key_of_another_type(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    certificate = Certificate(authority.chain, authority.key, lambda _: None)
    client = authority.client
    client.maximum_version = version
    async with serving(tls=certificate.context) as connect:
        _, writer = await connect(ssl=authority.client, server_hostname="127.0.0.1")
        address = writer.get_extra_info("peername")
        for number, key_type in enumerate([trustme.KeyType.RSA, trustme.KeyType.ECDSA, trustme.KeyType.RSA]):
            name = authority.renew(f"renewed-{number}.example", key_type)
            certificate.reload()
            assert await asyncio.to_thread(names, address, client) == name


async def test_a_connection_that_never_becomes_tls_makes_way(authority: Authority) -> None:
    certificate = Certificate(authority.chain, authority.key, lambda _: None)
    async with serving(2, certificate.context) as connect:
        silent = [await connect() for _ in range(4)]
        for _ in range(3):
            reader, writer = await connect(ssl=authority.client, server_hostname="127.0.0.1")
            assert await status_of_another(reader, writer) == 200
        for reader, _ in silent:
            assert await ended(reader)


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "no TLS"]
)
async def test_a_handshake_has_to_be_done_in_time(
    authority: Authority, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "RECEIVE_S", 0.2)
    certificate = Certificate(authority.chain, authority.key, lambda _: None)
    async with serving(tls=certificate.context) as connect:
        reader, writer = await connect()
        writer.write(said)
        assert await ended(reader)


async def test_what_comes_with_the_end_of_the_handshake_is_read(authority: Authority) -> None:
    certificate = Certificate(authority.chain, authority.key, lambda _: None)
    client = authority.client
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    line = client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    async with serving(tls=certificate.context) as connect:
        reader, writer = await connect()
        while True:
            try:
                line.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65_536))
            else:
                break
        line.write(GET + b"\r\n")
        writer.write(outgoing.read())  # the client's Finished and its request, in one packet
        said = b""
        while not said.endswith(b"/ 0"):
            try:
                said += line.read(65_536)
            except ssl.SSLWantReadError:
                async with asyncio.timeout(10):
                    incoming.write(await reader.read(65_536))
        assert said.startswith(b"HTTP/1.1 200 OK")


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
    with pytest.raises(SettingsError, match="public_key_file: belongs together with"):
        load_settings(public_certificate_file=str(authority.chain))
