"""`issuer serve` with a certificate of its own on the admin port."""

from pathlib import Path

import httpx
import pytest

from tests.blackbox.processes import run, serving
from tests.web.test_tls import Authority


def test_with_a_certificate_the_admin_port_may_be_open_to_the_network(
    environment: dict[str, str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    refused = run("serve", "--public", "127.0.0.1:0", "--admin", "0.0.0.0:0", env=environment)
    assert refused.exit_code == 1
    assert "admin_certificate_file" in refused.stderr
    secured = {
        **environment,
        "ISSUER_ADMIN_CERTIFICATE_FILE": str(authority.chain),
        "ISSUER_ADMIN_KEY_FILE": str(authority.key),
    }
    with serving(tmp_path, secured, admin="0.0.0.0:0") as server:
        port = server.admin.rpartition(":")[2]
        url = f"https://127.0.0.1:{port}/readyz"
        server.wait_for(lambda: httpx.get(url, verify=authority.client).status_code == 200)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/readyz")


def test_a_certificate_that_cannot_be_used_stops_the_start_in_plain_words(
    environment: dict[str, str], tmp_path: Path
) -> None:
    missing = {
        "ISSUER_PUBLIC_CERTIFICATE_FILE": f"{tmp_path}/none.crt",
        "ISSUER_PUBLIC_KEY_FILE": f"{tmp_path}/none.key",
    }
    refused = run("serve", "--public", "127.0.0.1:0", "--admin", "127.0.0.1:0", env={**environment, **missing})
    assert refused.exit_code == 1
    assert "none.crt" in refused.stderr
    assert "Traceback" not in refused.stderr
