"""The README's resource server, word for word, against tokens of ours."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.world import World

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
AUDIENCE = "https://ledger.example.com"


@contextmanager
def jwks_served(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


async def test_the_python_example_accepts_our_access_tokens_and_nothing_else(world: World) -> None:
    client = await world.account(
        scopes=["api:ledger:read", "openid"], audiences=[AUDIENCE, "https://other.example.com"]
    )
    answer = (await client.token(scope="api:ledger:read openid")).json()
    elsewhere = (await client.token(resource="https://other.example.com")).json()["access_token"]
    jwks = (await world.public.get("/.well-known/jwks.json")).content
    code = re.search(r"## Verify in a resource server.*?```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    issuer = world.foundation.issuer
    with jwks_served(jwks) as url:
        source = code[1].replace('f"{ISSUER}/.well-known/jwks.json"', repr(url))
        example: dict[str, Any] = {}
        exec(source.replace("https://auth.example.com", issuer), example)  # noqa: S102 - the README is ours
        assert example["verify"](answer["access_token"])["client_id"] == client.client_id
        assert example["may_read_ledger"](answer["access_token"])
        for wrong in (answer["id_token"], elsewhere, answer["access_token"][:-8] + "AAAAAAAA"):
            with pytest.raises(jwt.PyJWTError):
                example["verify"](wrong)
