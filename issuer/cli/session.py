"""The way to a running issuer: where it is, who we are there, and one session that turns every answer into a value.

Addresses and credentials come from the command's options and below them from **one** source: `--env-file`, else the
environment if it names an issuer at all, else the `.issuer/dev.env` of `issuer dev` in this folder or a parent. Sources
are not mixed, so that a secret from one place never goes to an address from another by accident.
"""

import functools
import inspect
import os
import re
import shlex
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import typer

from issuer.cli.output import CommandError, UsageError, note, trouble_reported
from issuer.model.kinds import Kind
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_READ_SCOPE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.settings import LOOPBACK_HOSTS

DEV_ENV = Path(".issuer", "dev.env")
TIMEOUT_S = 30
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

_PANEL = "Connection"
_PAGE = "500"
_EARLY_S = 30
"""A token this near its end is replaced before use."""

# The environment is the source as soon as it holds one of these.
_NAMES_OF_A_SOURCE = (
    "ISSUER_ADMIN_URL",
    "ISSUER_ADMIN_CLIENT_ID",
    "ISSUER_ADMIN_CLIENT_SECRET",
    "ISSUER_ADMIN_TOKEN",
    "ISSUER_TOKEN_ENDPOINT",
    "ISSUER_URL",
)
_ESCAPED = re.compile(r"\\(.)")
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options every command that talks to a server has, declared once; `connected` adds them."""

    admin_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Admin API. Environment: ISSUER_ADMIN_URL.", rich_help_panel=_PANEL),
    ] = None
    token_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Token endpoint. Environment: ISSUER_TOKEN_ENDPOINT, else ISSUER_URL with /oauth2/token.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    client_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Administrator's client id. Environment: ISSUER_ADMIN_CLIENT_ID.", rich_help_panel=_PANEL
        ),
    ] = None
    client_secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="Administrator's secret. Better in the environment, where other users of this machine cannot read it: "
            "ISSUER_ADMIN_CLIENT_SECRET, or a ready token in ISSUER_ADMIN_TOKEN.",
            rich_help_panel=_PANEL,
        ),
    ] = field(default=None, repr=False)
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="KEY=value lines to read instead of the environment. If neither names an issuer: .issuer/dev.env "
            "here or in a parent folder.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def known(self) -> "Known":
        """Everything these options and their source say. Raises CommandError when a file cannot be used."""
        return _source(self.env_file).under(
            {
                "ISSUER_ADMIN_URL": self.admin_url,
                "ISSUER_TOKEN_ENDPOINT": self.token_endpoint,
                "ISSUER_ADMIN_CLIENT_ID": self.client_id,
                "ISSUER_ADMIN_CLIENT_SECRET": self.client_secret,
            }
        )

    @contextmanager
    def session(self, *, write: bool) -> Iterator["Session"]:
        """An open session with the admin API; `write` asks for the scope that may change things."""
        with http_client() as client:
            yield Session(client, self.known(), write=write)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the issuer, by name of the environment variable, and where it was read."""

    values: Mapping[str, str] = field(repr=False)
    source: str

    def under(self, options: Mapping[str, str | None]) -> "Known":
        """The same with the options given laid over it."""
        return Known({**self.values, **{name: value for name, value in options.items() if value}}, self.source)

    def require(self, name: str) -> str:
        """The value. Raises CommandError that says how to give it."""
        value = self.values.get(name)
        if not value:
            silent = (
                f"{self.source} does not say it" if self.source else f"there is no {DEV_ENV} here or in a parent folder"
            )
            raise CommandError(
                f"{name} is not known: {silent}",
                next_step=f"start an issuer here with `issuer dev`, set {name}, or name a file with --env-file",
            )
        return value

    def url(self, name: str) -> str:
        """An address fit to send secrets to."""
        return checked_url(name, self.require(name).rstrip("/"))

    def token_endpoint(self) -> str:
        """Where tokens are made."""
        if "ISSUER_TOKEN_ENDPOINT" in self.values or "ISSUER_URL" not in self.values:
            return self.url("ISSUER_TOKEN_ENDPOINT")
        return self.url("ISSUER_URL") + TOKEN_PATH


def connected(command: Callable[Concatenate[Connection, P], None]) -> Callable[P, None]:
    """The command with the options of `Connection` added and its expected trouble reported.

    An option the command declares itself (`issuer token --client-id`) keeps the command's meaning.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    hints = get_type_hints(Connection, include_extras=True)
    taken = {parameter.name for parameter in own}
    added = [each.name for each in fields(Connection) if each.name not in taken]

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in added}
        connection = Connection(**given)
        with trouble_reported():
            command(connection, *args, **kwargs)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[name]) for name in added
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


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
        headers = {"authorization": f"Bearer {self._bearer()}", "accept": "application/json"}
        if merge:
            headers["content-type"] = "application/merge-patch+json"
        response = send(self._client, method, self._url + path, headers=headers, json=body, params=params)
        for header in response.headers.get_list("warning"):
            for warning in _WARNING.findall(header):
                note("Warning: " + _ESCAPED.sub(r"\1", warning))
        return self._object_of(response)

    def list(self, path: str) -> list[dict[str, Any]]:
        """All objects of a collection, page by page."""
        items: list[dict[str, Any]] = []
        params = {"limit": _PAGE}
        while True:
            page = self.call("GET", path, params=params)
            items += page.get("items") or []
            cursor = (page.get("metadata") or {}).get("continue")
            if not cursor:
                return items
            params = {"limit": _PAGE, "continue": cursor}

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
        answer = json_object(response)
        if response.is_success and answer is not None:
            return answer
        if answer is None or answer.get("kind") != "Status":
            raise CommandError(
                f"{self._url} answered {response.status_code} with something an admin API does not say",
                next_step="is this the admin port (8081 by default), not the public one?",
            )
        raise RefusedError(answer, response, f"credentials come from {self._known.source or 'the options'}")


class RefusedError(CommandError):
    """What the admin API said instead of doing it (a Kubernetes `Status`)."""

    def __init__(self, status: Mapping[str, Any], response: httpx.Response, whence: str) -> None:
        details = status.get("details") or {}
        causes = details.get("causes") or []
        self.code = response.status_code
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
        error = str(answer.get("error", response.status_code))
        wait = response.headers.get("retry-after")
        steps = {
            "invalid_client": "check the client id and the secret (`issuer rotate` makes a new one), and that the "
            "account is neither disabled nor expired (`issuer get serviceaccounts -A`)",
            "invalid_scope": "ask only for scopes the account holds: spec.scopes in `issuer get sa … -o yaml`",
            "invalid_target": "--resource must be one of the account's audiences: spec.audiences",
            "unauthorized_client": "a policy or the account itself forbids every such token",
            "unsupported_grant_type": "is this the token endpoint of an Issuer?",
            "temporarily_unavailable": f"try again in {wait} s" if wait else "try again in a moment",
        }
        super().__init__(
            f"no token for {client_id}: {error}: {answer.get('error_description') or 'no description'}",
            next_step=steps.get(error, ""),
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
    where = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    try:
        return client.request(method, url, **request)
    except httpx.ConnectError as error:
        if _is_tls(error):
            raise CommandError(
                f"no secure connection to {where}: {error}",
                next_step="SSL_CERT_FILE names a file with the certificate authority to trust; "
                "if the port does not speak TLS, the address begins with http://",
            ) from None
        raise CommandError(
            f"nothing answers at {where} ({error}); is `make run` or `issuer serve` running?",
            next_step="start it, or give another address: --admin-url, --token-endpoint or --env-file",
        ) from None
    except httpx.TimeoutException:
        raise CommandError(
            f"{where} did not answer within {TIMEOUT_S} s", next_step=f"look at {where} and its log"
        ) from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CommandError(f"the connection to {where} broke: {error}", next_step="try again") from None


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The body if it is a JSON object."""
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def checked_url(name: str, url: str) -> str:
    """The address as given. Raises UsageError unless it is one to which a secret may be sent."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"https", "http"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise UsageError(f"{name} is not a URL") from None
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"{name} must be an http or https URL without credentials, query and fragment")
    if (
        parts.scheme == "http"
        and parts.hostname not in LOOPBACK_HOSTS
        and os.environ.get("ISSUER_ADMIN_PLAINTEXT") != "1"
    ):
        raise UsageError(
            f"{name} is plain http to another machine ({parts.hostname}): secrets would travel unencrypted",
            next_step="use https, or accept it with ISSUER_ADMIN_PLAINTEXT=1",
        )
    return url


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """The path of a collection, or of the one object called `name`."""
    group = f"/api/{kind.api_version}" if "/" not in kind.api_version else f"/apis/{kind.api_version}"
    reach = f"/namespaces/{quote(namespace, safe='')}" if kind.namespaced and namespace else ""
    return f"{group}{reach}/{kind.plural}" + (f"/{quote(name, safe='')}" if name else "")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _source(env_file: Path | None) -> Known:
    if env_file is not None:
        return Known(read_env_file(env_file), str(env_file))
    if any(os.environ.get(name) for name in _NAMES_OF_A_SOURCE):
        return Known(os.environ, "the environment")
    here = Path.cwd()
    found = next((folder / DEV_ENV for folder in (here, *here.parents) if _is_file(folder / DEV_ENV)), None)
    if found is None:
        return Known({}, "")
    # A file that somebody else may have put here decides where secrets go: like ssh, use only what is ours alone.
    facts = found.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise CommandError(
            f"{found} was found, but it is not yours alone (mode {facts.st_mode & 0o777:o})",
            next_step=f"if you trust it, `chmod 600` it or say --env-file {found}",
        )
    return Known(read_env_file(found), str(found))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered
        return False


def read_env_file(path: Path) -> dict[str, str]:
    """The `KEY=value` lines, as a shell would read them. Raises CommandError; never quotes a value."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandError(f"{path} cannot be read: {why}") from None
    values = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        try:
            words = shlex.split(value)
        except ValueError:
            words = []
            equals = ""
        if not equals or not name.isidentifier():
            raise CommandError(f"{path}, line {number}: not a KEY=value line")
        values[name] = " ".join(words)
    return values
