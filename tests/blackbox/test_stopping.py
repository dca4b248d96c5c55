"""SIGTERM in the middle of work: what was begun is finished."""

import signal
import socket
import threading
from pathlib import Path

import httpx

from tests.blackbox.processes import serving
from tests.databases import Databases


def test_sigterm_under_load_finishes_every_request_that_was_begun(
    databases: Databases, environment: dict[str, str], tmp_path: Path
) -> None:
    """A request is begun once its bytes are accepted; a connection refused afterwards is the load balancer's to retry."""
    admin = databases.bootstrapped.admin
    answers: list[int] = []
    broken: list[str] = []
    with serving(tmp_path, environment) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)

        def ask_until_refused() -> None:
            form = {"grant_type": "client_credentials"}
            while True:
                try:
                    answer = httpx.post(
                        f"{server.public}/oauth2/token", data=form, auth=(admin.client_id, admin.client_secret)
                    )
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    broken.append(repr(error))
                    return
                answers.append(answer.status_code)

        threads = [threading.Thread(target=ask_until_refused) for _ in range(8)]
        for thread in threads:
            thread.start()
        server.wait_for(lambda: len(answers) > 50)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        for thread in threads:
            thread.join(5)
        assert set(answers) == {200}
        assert broken == []
        assert server.events("ServerStopping")
        assert "Traceback" not in server.said


def test_draining_it_is_not_ready_and_says_close_and_clients_that_heed_it_are_never_reset(
    databases: Databases, environment: dict[str, str], tmp_path: Path
) -> None:
    admin = databases.bootstrapped.admin
    answers: list[httpx.Response] = []
    broken: list[str] = []
    with serving(tmp_path, {**environment, "ISSUER_DRAIN_DELAY_S": "1"}) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)

        def ask_over_kept_connections_until_refused() -> None:
            form = {"grant_type": "client_credentials"}
            with httpx.Client(auth=(admin.client_id, admin.client_secret)) as client:
                while True:
                    try:
                        answers.append(client.post(f"{server.public}/oauth2/token", data=form))
                    except httpx.ConnectError:
                        return
                    except httpx.TransportError as error:
                        broken.append(repr(error))
                        return

        threads = [threading.Thread(target=ask_over_kept_connections_until_refused) for _ in range(8)]
        for thread in threads:
            thread.start()
        server.wait_for(lambda: len(answers) > 50)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(lambda: server.events("ServerStopping"))
        stopping = server.wait_for(lambda: (said := server.readiness()).status_code == 503 and said)
        served = len(answers)
        assert (stopping.status_code, stopping.text) == (503, "not ready: this process is stopping\n")
        server.wait_for(lambda: server.readiness().headers.get("connection") == "close")
        server.wait_for(lambda: len(answers) > served + 50)
        assert server.process.wait(15) == 0
        for thread in threads:
            thread.join(5)
        assert {answer.status_code for answer in answers} == {200}
        assert answers[-1].headers["connection"] == "close"
        assert broken == []


def test_a_request_half_sent_at_sigterm_is_answered(
    databases: Databases, environment: dict[str, str], tmp_path: Path
) -> None:
    admin = databases.bootstrapped.admin
    with serving(tmp_path, environment) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        whole = httpx.Request(
            "POST",
            f"{server.public}/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": admin.client_id,
                "client_secret": admin.client_secret,
            },
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in whole.headers.items())
        host, port = whole.url.host, whole.url.port
        with socket.create_connection((host, port)) as line:
            line.sendall(f"POST /oauth2/token HTTP/1.1\r\n{head}\r\n".encode() + whole.content[:20])
            server.wait_for(lambda: server.readiness().status_code == 200)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(lambda: server.process.poll() is None and _refuses(server.admin))
            line.sendall(whole.content[20:])
            line.settimeout(10)
            assert line.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(15) == 0


def _refuses(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez", timeout=0.3)  # who comes now is not refused but left waiting, for another replica
    except httpx.TransportError:
        return True
    return False
