"""Where a running issuer is and who we are there, as far as it is known.

Addresses and credentials come from the command's options and below them from **one** source: `--env-file`, else the
environment if it names an issuer at all, else the `.issuer/dev.env` of `issuer dev` in this folder or a parent. Sources
are not mixed, so that a secret from one place never goes to an address from another by accident.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from issuer.cli.output import CommandError, UsageError
from issuer.protocol.metadata import TOKEN_PATH
from issuer.settings import LOOPBACK_HOSTS

DEV_ENV = Path(".issuer", "dev.env")

# The environment is the source as soon as it holds one of these.
_NAMES_OF_A_SOURCE = (
    "ISSUER_ADMIN_URL",
    "ISSUER_ADMIN_CLIENT_ID",
    "ISSUER_ADMIN_CLIENT_SECRET",
    "ISSUER_ADMIN_TOKEN",
    "ISSUER_TOKEN_ENDPOINT",
    "ISSUER_URL",
)


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


def known_from(env_file: Path | None) -> Known:
    """What the one source says. Raises CommandError when a file cannot be used."""
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
