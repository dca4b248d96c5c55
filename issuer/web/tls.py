"""TLS of a port: a certificate that is read again when its file changes, so that renewing it needs no restart."""

import asyncio
import ssl
from hashlib import sha256
from pathlib import Path

from issuer.events import CertificateLoaded, CertificateRefused, Emit

LOOK_S = 10.0


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message says which file and why."""


class Certificate:
    """A certificate chain with its key. New connections get the newest that could be read."""

    def __init__(self, chain: Path, key: Path, emit: Emit) -> None:
        """Raises CertificateError: a server without its certificate does not start."""
        self._chain = chain
        self._key = key
        self._emit = emit
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """What a port listens with. It has no certificate: each handshake takes the newest."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.sni_callback = self._take_newest
        self._newest = self.context
        self._seen = b""
        try:
            self._load(self._digest())
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"The certificate {chain} with the key {key} cannot be used: {_why(error)}."
            ) from None

    def reload(self) -> None:
        """Takes the files' present content for connections from now on; if it cannot be used, the last one stays."""
        try:
            digest = self._digest()
            if digest == self._seen:
                return
            self._load(digest)
        except (OSError, ssl.SSLError) as error:
            self._emit(CertificateRefused(str(self._chain), _why(error)))
        else:
            self._emit(CertificateLoaded(str(self._chain)))

    async def run(self) -> None:
        """Looks for a new one for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.reload()

    def _digest(self) -> bytes:
        return sha256(self._chain.read_bytes() + b"\0" + self._key.read_bytes()).digest()

    def _load(self, digest: bytes) -> None:
        # Each into a context of its own: one that had another before it would keep that for as long as their keys are of
        # different types, and a chain that loads beside a key that does not would leave half of each.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain, self._key, password=_no_password)
        self._newest = context
        self._seen = digest

    def _take_newest(self, handshake: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext) -> None:
        """Called in every handshake, whether the client names a host or not."""
        handshake.context = self._newest


def _no_password() -> str:
    raise OSError("the key is encrypted; give it without a password, in a file only this user can read")


def _why(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return str(getattr(error, "reason", None) or reason or error)
