"""Whatever has the shape of a secret: what the whole suite holds its events, logs, metrics, errors and databases against.

`leaks` looks for secrets that are known. Here none is: every test that starts an issuer is one more canary, at the price of a
regular expression. A shape never matches what tests write by hand for a wrong secret (`isk1_wrong`).
"""

import re
from base64 import b64encode

from issuer.credentials import SECRET_PREFIX


def _encoded(prefix: bytes) -> str:
    """How base64 begins of a text that begins with the prefix, at any alignment; then so much that it is no chance."""
    aligned = (b64encode(bytes(before) + prefix).decode().rstrip("=") for before in range(3))
    # The first characters are a neighbour's, the last one is shared with what follows.
    starts = {each[start:-1] for start, each in zip((0, 2, 3), aligned, strict=True)}
    return rf"(?:{'|'.join(map(re.escape, sorted(starts)))})[0-9A-Za-z+/_-]{{40}}"


SHAPES = {
    "client secret": rf"{SECRET_PREFIX}[0-9A-Za-z]{{40}}",
    "client secret in hex": rf"{SECRET_PREFIX.encode().hex()}[0-9A-Fa-f]{{80}}",
    "client secret in base64": _encoded(SECRET_PREFIX.encode()),
    "JWT": r"eyJ[0-9A-Za-z_-]{16,}\.eyJ[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{40,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "private key in hex": b"-----BEGIN PRIVATE KEY".hex(),
    "private part of a JWK": r'"(?:d|p|q|dp|dq|qi)"\s*:\s*"[0-9A-Za-z_-]{20}',
    "Authorization header": r"(?:[Bb]asic|[Bb]earer) [0-9A-Za-z+/=._~-]{40}",
}
ANY_SHAPE = re.compile("|".join(f"(?:{shape})" for shape in SHAPES.values()))
_BEFORE = 60


def assert_no_secret(text: str, where: str) -> None:
    """Fails with the kind of the secret and what stands before it, and never with the secret."""
    __tracebackhide__ = True  # pytest would show the text
    found = ANY_SHAPE.search(text)
    if found is None:
        return
    kind = next(name for name, shape in SHAPES.items() if re.match(shape, found[0]))
    raise AssertionError(f"a {kind} in {where}, behind {text[max(0, found.start() - _BEFORE) : found.start()]!r}")
