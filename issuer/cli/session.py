"""One command's dealings with a running issuer over HTTP: every answer becomes a value or words for a person."""

import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from issuer.cli.environment import Known
from issuer.cli.output import CommandError, note
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_READ_SCOPE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.settings import LOOPBACK_HOSTS

TIMEOUT_S = 30

_PAGE = "500"
_EARLY_S = 30
"""A token this near its end is replaced before use."""
_LATE_S = 5
"""How long after its announced end a stream may still be silent before it counts as broken."""

_PASSING = frozenset({429, 503})
_ESCAPED = re.compile(r"\\(.)")
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection as it was at `revision`, from where it can be watched."""

    items: list[dict[str, Any]]
    revision: str


class Session:
    """One command's dealings with the admin API: one token, every answer a JSON object or CommandError."""

    def __init__(self, client: httpx.Client, known: Known, *, write: bool) -> None:
        self._client = client
        self._known = known
        self._scope = ADMIN_SCOPE if write else ""
        self._url = known.url("ISSUER_ADMIN_URL")
        self._token = known.values.get("ISSUER_ADMIN_TOKEN", "")
        self._token_ends_s = float("inf") if self._token else 0.0

    def call(
        self, method: str, path: str, *, body: Any = None, merge: bool = False, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's object. Raises RefusedError with what the API said; its warnings go to standard error."""
        headers = self._headers()
        if merge:
            headers["content-type"] = "application/merge-patch+json"
        return self._object_of(send(self._client, method, self._url + path, headers=headers, json=body, params=params))

    def list(self, path: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """All objects of a collection, page by page; `params` may select."""
        return self.listing(path, params).items

    def listing(self, path: str, params: Mapping[str, str] | None = None) -> Listing:
        """The same with the revision it is true of: the first page's, which every later page repeats."""
        items: list[dict[str, Any]] = []
        revision = ""
        asked = {**(params or {}), "limit": _PAGE}
        while True:
            page = self.call("GET", path, params=asked)
            metadata = page.get("metadata") or {}
            items += page.get("items") or []
            revision = revision or metadata.get("resourceVersion", "")
            if not metadata.get("continue"):
                return Listing(items, revision)
            asked["continue"] = metadata["continue"]

    def watch(self, path: str, params: Mapping[str, str], *, timeout_s: int) -> Iterator[dict[str, Any]]:
        """Every event of a collection (`type`, `object`) until the issuer ends the stream, which it does in `timeout_s`.

        Sooner when the token ends sooner: a watch does not outlive its token. Raises RefusedError, also for an event that
        says why the watch is over (410: the revision is too old), and LostError.
        """
        headers = self._headers()
        lasts_s = int(max(1, min(timeout_s, self._token_ends_s - time.monotonic() - _LATE_S)))
        asked = {**params, "watch": "true", "timeoutSeconds": str(lasts_s)}
        patience = httpx.Timeout(TIMEOUT_S, read=lasts_s + _LATE_S)
        request = self._client.build_request("GET", self._url + path, headers=headers, params=asked, timeout=patience)
        with _trouble_said(self._url):
            response = self._client.send(request, stream=True)
        try:
            if not response.is_success:
                with _trouble_said(self._url):
                    response.read()
                self._object_of(response)
            for line in self._lines(response):
                event = _event_of(line, self._url)
                if event["type"] == "ERROR":
                    raise RefusedError(event["object"], response, self._whence)
                yield event
        finally:
            response.close()

    def _lines(self, response: httpx.Response) -> Iterator[bytes]:
        """The lines of a stream. Not httpx's own: it also breaks at U+2028, which JSON may hold as it is."""
        buffer = b""
        with _trouble_said(self._url):
            for chunk in response.iter_bytes():
                *whole, buffer = (buffer + chunk).split(b"\n")
                yield from whole

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._bearer()}", "accept": "application/json"}

    @property
    def _whence(self) -> str:
        return f"credentials come from {self._known.source or 'the options'}"

    def _bearer(self) -> str:
        if time.monotonic() > self._token_ends_s - _EARLY_S:
            form = {"resource": ADMIN_AUDIENCE} | ({"scope": self._scope} if self._scope else {})
            client_id = self._known.require("ISSUER_ADMIN_CLIENT_ID")
            secret = self._known.require("ISSUER_ADMIN_CLIENT_SECRET")
            answer = request_token(self._client, self._known.token_endpoint(), client_id, secret, form)
            self._token = answer["access_token"]
            lifetime_s = answer.get("expires_in")
            self._token_ends_s = time.monotonic() + (lifetime_s if isinstance(lifetime_s, int) else 0)
        return self._token

    def _object_of(self, response: httpx.Response) -> dict[str, Any]:
        for header in response.headers.get_list("warning"):
            for warning in _WARNING.findall(header):
                note("Warning: " + _ESCAPED.sub(r"\1", warning))
        answer = json_object(response)
        if response.is_success and answer is not None:
            return answer
        if answer is None or answer.get("kind") != "Status":
            raise CommandError(
                f"{self._url} answered {response.status_code} with something an admin API does not say",
                next_step="is this the admin port (8081 by default), not the public one?",
            )
        raise RefusedError(answer, response, self._whence)


class LostError(CommandError):
    """No answer, or only a part of one: nothing answers, not in time, or the connection broke."""


class RefusedError(CommandError):
    """What the admin API said instead of doing it (a Kubernetes `Status`)."""

    def __init__(self, status: Mapping[str, Any], response: httpx.Response, whence: str) -> None:
        details = status.get("details") or {}
        causes = details.get("causes") or []
        self.code = int(status.get("code") or response.status_code)
        self.reason = str(status.get("reason", ""))
        self.kind = str(details.get("kind", ""))
        message = str(status.get("message") or f"the admin API answered {self.code}")
        if causes:  # the message repeats them
            message = message.replace(" is invalid: ", " is invalid\n").partition("\n")[0]
        wait = response.headers.get("retry-after")
        steps = {
            401: f"the token was not accepted: {whence}; is it another issuer's, or was the secret rotated?",
            403: f"the account needs the scope {ADMIN_SCOPE} ({ADMIN_READ_SCOPE} to read) in {SYSTEM_NAMESPACE}",
            409: "look at the object with `issuer get … -o yaml`, then try again",
            503: f"try again in {wait} s" if wait else "try again in a moment",
        }
        super().__init__(
            message,
            details=[f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes],
            next_step=steps.get(self.code, ""),
        )


class TokenRefusedError(CommandError):
    """What the token endpoint said instead of a token (RFC 6749 section 5.2)."""

    def __init__(self, answer: Mapping[str, Any], response: httpx.Response, client_id: str) -> None:
        self.code = response.status_code
        error = str(answer.get("error", response.status_code))
        wait = response.headers.get("retry-after")
        steps = {
            "invalid_client": "check the client id and the secret (`issuer rotate` makes a new one), and that the "
            "account is neither disabled nor expired (`issuer get serviceaccounts -A`)",
            "invalid_scope": "ask only for scopes the account holds (spec.scopes); `issuer explain NAMESPACE/NAME` says "
            "what policies withhold",
            "invalid_target": "--resource must be one of the account's audiences (spec.audiences) that policies allow: "
            "`issuer explain NAMESPACE/NAME`",
            "unauthorized_client": "a policy or the account itself forbids every such token: `issuer explain NAMESPACE/NAME`",
            "unsupported_grant_type": "is this the token endpoint of an Issuer?",
            "temporarily_unavailable": f"try again in {wait} s" if wait else "try again in a moment",
        }
        super().__init__(
            f"no token for {client_id}: {error}: {answer.get('error_description') or 'no description'}",
            next_step=steps.get(error, ""),
        )


def may_pass(trouble: CommandError) -> bool:
    """Whether the same may go well in a moment: an issuer that restarts, or has too much to do."""
    return isinstance(trouble, LostError) or (
        isinstance(trouble, RefusedError | TokenRefusedError) and trouble.code in _PASSING
    )


def request_token(
    client: httpx.Client, endpoint: str, client_id: str, secret: str, form: Mapping[str, str]
) -> dict[str, Any]:
    """The answer to client_credentials by client_secret_basic. Raises TokenRefusedError or CommandError."""
    # RFC 6749 section 2.3.1: both are form-urlencoded before they are joined.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    headers = {"authorization": f"Basic {b64encode(pair.encode()).decode()}", "accept": "application/json"}
    response = send(client, "POST", endpoint, headers=headers, data={"grant_type": "client_credentials", **form})
    answer = json_object(response)
    if response.is_success and answer is not None and isinstance(answer.get("access_token"), str):
        return answer
    if answer is None or "error" not in answer:
        raise CommandError(
            f"{endpoint} answered {response.status_code} with something a token endpoint does not say",
            next_step="the token endpoint is the issuer's URL with /oauth2/token: check ISSUER_TOKEN_ENDPOINT",
        )
    raise TokenRefusedError(answer, response, client_id)


def http_client() -> httpx.Client:
    """A client that goes past a proxy to this machine, keeps to time and follows no redirect with a secret."""
    direct = {f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK_HOSTS}
    return httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, mounts=direct)


def send(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
    """The response, whatever its status. Raises CommandError when there is none."""
    with _trouble_said(url):
        return client.request(method, url, **request)


@contextmanager
def _trouble_said(url: str) -> Iterator[None]:
    """Whatever goes wrong with the connection inside becomes a CommandError, a LostError where trying again may help."""
    where = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    try:
        yield
    except httpx.ConnectError as error:
        if _is_tls(error):
            raise CommandError(
                f"no secure connection to {where}: {error}",
                next_step="SSL_CERT_FILE names a file with the certificate authority to trust; "
                "if the port does not speak TLS, the address begins with http://",
            ) from None
        raise LostError(
            f"nothing answers at {where} ({error}); is `make run` or `issuer serve` running?",
            next_step="start it, or give another address: --admin-url, --token-endpoint or --env-file",
        ) from None
    except httpx.TimeoutException:
        raise LostError(
            f"{where} did not answer within {TIMEOUT_S} s", next_step=f"look at {where} and its log"
        ) from None
    except httpx.InvalidURL as error:
        raise CommandError(f"the connection to {where} broke: {error}", next_step="try again") from None
    except httpx.TransportError as error:
        raise LostError(f"the connection to {where} broke: {error}", next_step="try again") from None


def _event_of(line: bytes, url: str) -> dict[str, Any]:
    """One whole line of a watch. Raises CommandError when it is none: no admin API says that."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and isinstance(event.get("type"), str) and isinstance(event.get("object"), dict):
        return event
    raise CommandError(f"{url} sent something that is no event of a watch", next_step="is a proxy in between?")


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The body if it is a JSON object."""
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
