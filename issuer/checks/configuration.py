"""Judgements on the settings and the files they name."""

from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import chain
from typing import Any

from pydantic import BaseModel

from issuer.checks.cases import Configured, Loaded, PortCertificate
from issuer.checks.findings import Finding, error, ok, warning
from issuer.model.durations import format_duration
from issuer.observe.exporting import Tracing
from issuer.settings import ScheduleSettings, Settings, SettingsError
from issuer.signing.sealing import MasterKeyError

SPOOL_DIR, EXPORT_DIR = "audit.spool_dir", "audit.export_dir"
_EXAMPLE = "config/issuer.example.yaml explains every setting"
_SIMILAR = 0.85
_PREFIX = "ISSUER_"
_CERTIFICATE_DAYS = 14


def judge_settings(case: Loaded) -> Finding:
    """Every setting is one `serve` takes."""
    if not isinstance(case.settings, SettingsError):
        return ok(f"Every setting can be used; read from {case.source}.")
    message, *faults = str(case.settings).splitlines()
    return error(message, _EXAMPLE, (fault.strip() for fault in faults))


def judge_environment(case: Loaded) -> Finding:
    """No variable looks like a setting and is none: `serve` does not notice those."""
    known = set(_variables_of(Settings))
    strangers = {name for name in case.variables if name.upper().startswith(_PREFIX)}
    slips = {
        name: meant[0]
        for name in sorted(strangers)
        if name.upper() not in known and (meant := get_close_matches(name.upper(), known, 1, _SIMILAR))
    }
    if not slips:
        return ok("No variable looks like a misspelled setting.")
    return warning(
        "Variables of the environment that look like settings and are none, so nothing reads them:",
        "correct the names; what is nested takes two underscores",
        (f"{name}: did you mean {meant}?" for name, meant in slips.items()),
    )


def _variables_of(model: type[BaseModel], prefix: str = _PREFIX) -> list[str]:
    def below(name: str, annotation: Any) -> list[str]:
        nested = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        return _variables_of(annotation, f"{prefix}{name}__") if nested else [prefix + name]

    return list(chain.from_iterable(below(name.upper(), each.annotation) for name, each in model.model_fields.items()))


def judge_url(case: Configured) -> Finding:
    """Tokens name an issuer that others can reach and trust."""
    url = case.settings.url
    if url is None:
        return error("There is no issuer URL.", "set ISSUER_URL: exactly what shall stand in every token's `iss`")
    if url.startswith("http://"):
        return warning(
            f"{url} is of this machine only, and not encrypted.",
            "in production, set ISSUER_URL to the https address that clients use",
        )
    return ok(f"Tokens will say iss: {url}")


def judge_master_key(case: Configured) -> Finding:
    """There is a master key, written as one."""
    if isinstance(case.master_key, MasterKeyError):
        message, _, advice = str(case.master_key).partition(". ")
        return error(message.rstrip(".") + ".", advice.rstrip(".") or "give every replica the same key")
    others = len(case.master_key.keys) - 1
    return ok(f"{case.master_key.current!r} seals{f', {others} more can open' if others else ''}.")


def judge_private_files(case: Configured) -> Finding:
    """Files with keys belong to one reader."""
    open_ones = [each for each in case.private_files if each.mode & 0o077]
    if not open_ones:
        return ok("Every file with a key is its owner's alone." if case.private_files else "No key lies in a file.")
    return warning(
        "Files with keys that others on this machine may open:",
        "chmod 600 them; where they are mounted, as in a container, let nobody else run there",
        (f"{each.what}: {each.path} (mode {each.mode & 0o777:04o})" for each in open_ones),
    )


def judge_folders(case: Configured) -> Finding:
    """What `serve` writes has a place. Without its spool it is never ready; without the other, days only stay too long."""
    bad = {each.setting: f"{each.setting}: {each.path} ({each.trouble})" for each in case.folders if each.trouble}
    advice = "name a folder that the user of `serve` can make, or may write to"
    if SPOOL_DIR in bad:
        return error("Folders that cannot be written to, so that `serve` is never ready:", advice, bad.values())
    if bad:
        return warning("Folders that cannot be written to, so that no day leaves the database:", advice, bad.values())
    return ok("Every folder can be written to." if case.folders else "Nothing is written to a folder.")


def judge_certificates(case: Configured) -> Finding:
    """What the ports show is valid, and will be for a while."""
    soon = case.now + timedelta(days=_CERTIFICATE_DAYS)
    bad = [
        _why_bad(each, case.now) for each in case.certificates if each.not_after is None or each.not_after <= case.now
    ]
    ending = [
        f"{each.port}: expires on {each.not_after:%Y-%m-%d}"
        for each in case.certificates
        if each.not_after is not None and case.now < each.not_after <= soon
    ]
    advice = "renew it; a running server takes the new one from the same file within seconds"
    if bad:
        return error("Certificates that clients will refuse:", advice, (*bad, *ending))
    if ending:
        return warning(f"Certificates that expire within {_CERTIFICATE_DAYS} days:", advice, ending)
    ports = ", ".join(f"{each.port} until {each.not_after:%Y-%m-%d}" for each in case.certificates)
    return ok(f"Valid: {ports}." if ports else "No port has TLS of its own; the public one belongs behind a TLS proxy.")


def _why_bad(certificate: PortCertificate, now: datetime) -> str:
    if certificate.not_after is None:
        return f"{certificate.port}: {certificate.trouble}"
    return f"{certificate.port}: expired {(now - certificate.not_after).days} days ago"


def judge_admin_port(case: Configured) -> Finding:
    """Administrators' tokens do not cross a network in the clear."""
    settings = case.settings
    if settings.admin_certificate_file is not None:
        return ok("It speaks TLS.")
    if settings.admin_plaintext:
        return warning(
            "`serve` may open it on any address without TLS: administrators' tokens and new secrets can be read on the way.",
            "give it a certificate (admin_certificate_file), or keep it on a network that nobody else can read",
        )
    return ok("Without TLS of its own, so `serve` opens it on loopback only.")


def judge_lifetimes(case: Configured) -> Finding:
    """What accounts get without asking fits below the maximum."""
    tokens = case.settings.tokens
    most, default = format_duration(tokens.max_ttl_s), format_duration(tokens.default_ttl_s)
    if tokens.default_ttl_s > tokens.max_ttl_s:
        return warning(
            f"tokens.default_ttl_s ({default}) is above tokens.max_ttl_s ({most}), so nobody gets the default.",
            "lower the default",
        )
    return ok(f"Tokens live {default} unless somebody says otherwise, and never longer than {most}.")


def judge_schedule(case: Configured) -> Finding:
    """A day lasts a day."""
    schedule, real = case.settings.schedule, ScheduleSettings()
    if schedule == real:
        return ok("A day has 24 hours.")
    return warning(
        f"A day of `intervalDays` lasts {schedule.day_s:g} s and an hour of `gracePeriodHours` {schedule.hour_s:g} s: "
        "rotations come, and old secrets end, that much too early.",
        "leave schedule.day_s and schedule.hour_s out; they are for tests",
    )


def judge_log(case: Configured) -> Finding:
    """The log grows with what happens, not with every token."""
    log = case.settings.log
    if log.level == "debug":
        return warning("log.level is debug: a line for every token that is issued.", "set ISSUER_LOG__LEVEL=info")
    return ok(f"Level {log.level}, as {log.format}.")


def judge_traces(case: Configured) -> Finding:
    """Where traces are asked for, there are some."""
    if case.tracing is Tracing.NOT_INSTALLED:
        return warning(
            "The environment (OTEL_…) asks for traces, and the extra that makes them is not installed: there are none.",
            "pip install 'issuer[otel]', or set OTEL_SDK_DISABLED=true",
        )
    return ok("Every request is a span." if case.tracing is Tracing.ON else "The environment asks for none.")
