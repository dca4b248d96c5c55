"""Judgements on PostgreSQL and our connection to it."""

from issuer.checks.cases import Connected, Reached
from issuer.checks.findings import Finding, error, ok, warning
from issuer.directory.lookups import MAX_BATCHES
from issuer.store.database import DatabaseUnavailable, ReadOnlyStandby
from issuer.store.decisions import WRITERS
from issuer.store.facts import Standby
from issuer.store.schema import newest_version

_OLDEST = 15
_SKEW_NOTICED_S, _SKEW_NOT_READY_S = 2, 30
_DURABLE = frozenset({"on", "remote_apply"})
_VERIFYING = frozenset({"verify-ca", "verify-full"})
# What the driver calls a failure, in plain words.
_WHY = {
    "ConnectionRefusedError": "nothing listens there",
    "ConnectionError": "the connection broke off, or it refuses TLS",
    "gaierror": "its name cannot be resolved",
    "TimeoutError": "no answer in time",
    "SSLCertVerificationError": "its certificate is not one we trust",
    "53300": "it has no connection left",
    "57014": "a question took longer than database.statement_timeout_s",
    "57P03": "it is starting or stopping",
}


def judge_database(case: Reached) -> Finding:
    """There is a PostgreSQL that answers, that can be written to, and that is new enough."""
    match case.outcome:
        case None:
            return error("No database is named.", "set ISSUER_DATABASE_URL=postgresql://user:password@host/database")
        case ReadOnlyStandby():
            return error(
                f"{case.target} answers as a standby: nothing can be written there.",
                "name the primary in ISSUER_DATABASE_URL, or all hosts with commas: whichever is the primary is used",
            )
        case DatabaseUnavailable():
            why = str(case.outcome)
            return error(
                f"The database at {case.target} does not answer: {_WHY.get(why, why)}.",
                "is PostgreSQL running, and does ISSUER_DATABASE_URL name it with the right user and password?",
            )
        case server if server.version_number < _OLDEST * 10_000:
            return error(f"PostgreSQL {server.version} is too old.", f"use PostgreSQL {_OLDEST} or later")
        case server:
            return ok(f"PostgreSQL {server.version} at {case.target} is a writable primary.")


def judge_encryption(case: Connected) -> Finding:
    """Nobody between us and the database reads or answers."""
    target, parameter = case.target, "?sslmode=verify-full (and sslrootcert=… for a CA of your own)"
    if target.is_local:
        return ok("The connection does not leave this machine.")
    if not case.server.encrypted:
        return warning(
            f"The connection to {target} is not encrypted: whoever is on the way reads what is stored.",
            f"turn TLS on in PostgreSQL and add {parameter} to ISSUER_DATABASE_URL",
        )
    if target.sslmode not in _VERIFYING:
        unasked = target.sslmode != "require"
        return warning(
            f"The connection to {target} is encrypted{', today' if unasked else ''}, but with sslmode={target.sslmode} "
            f"nobody checks who answers{', and it may go on in the clear' if unasked else ''}.",
            f"add {parameter} to ISSUER_DATABASE_URL",
        )
    return ok(f"TLS to {target}, with its certificate verified.")


def judge_durability(case: Connected) -> Finding:
    """What was committed survives a crash, on our connection as it really is."""
    server = case.server
    if server.fsync != "on":
        return error("fsync is off: a crash of its machine may destroy the database.", "set fsync = on in PostgreSQL")
    if server.synchronous_commit not in _DURABLE:
        return error(
            f"synchronous_commit is {server.synchronous_commit} on our connection, though we ask for on: a crash loses "
            "secrets and records that were already answered for.",
            "something between us and PostgreSQL, such as a pooler, drops session settings: connect directly",
        )
    return ok(f"fsync is on, synchronous_commit is {server.synchronous_commit}.")


def judge_standby(case: Connected) -> Finding:
    """A failover loses nothing."""
    server = case.server
    demanded = bool(server.synchronous_standby_names)
    names = ", ".join(standby.name or "a standby" for standby in server.standbys)
    if any(_is_synchronous(standby) for standby in server.standbys):
        return ok(f"Synchronous: {names}.")
    if demanded and any(standby.sync_state is None for standby in server.standbys):
        return ok("Commits wait for a standby; which one cannot be seen by this user (GRANT pg_monitor shows it).")
    if demanded:
        return warning(
            f"synchronous_standby_names is {server.synchronous_standby_names!r} and no connected standby counts "
            f"({names or 'there is none'}): commits wait until they fail.",
            "bring the standby back under its name, or let PostgreSQL go on without one",
        )
    if not server.standbys:
        return ok("No standby is connected; what a provider replicates below PostgreSQL cannot be seen from here.")
    return warning(
        f"Replication to {names} is asynchronous: a failover loses the last commits, be it a secret that was delivered or "
        "an account that was disabled.",
        "set synchronous_standby_names in PostgreSQL, or accept the loss knowingly",
    )


def _is_synchronous(standby: Standby) -> bool:
    return standby.sync_state in {"sync", "quorum"}


def judge_connections(case: Connected) -> Finding:
    """Every pool of every process of every replica can be full at once."""
    plan, limit, size = case.plan, case.server.connection_limit, case.settings.database.pool_size
    each = connections_of_process(size)
    needed = plan.processes * each
    replicas = "1 replica" if plan.replicas == 1 else f"{plan.replicas} replicas"
    said = f"{replicas} of {plan.workers + 1} processes with up to {each} connections each make {needed}"
    if needed <= limit:
        return ok(f"{said}; this user may open {limit}.")
    fitting = next(
        (less for less in range(size, 0, -1) if plan.processes * connections_of_process(less) <= limit), None
    )
    smaller = f", or database.pool_size to {fitting}" if fitting else ""
    return warning(
        f"{said}, but this user may open only {limit}: under load some requests will be refused with 503.",
        f"set max_connections in PostgreSQL to {needed + 20} or more{smaller}; --replicas and --workers say what you plan",
    )


def connections_of_process(pool_size: int) -> int:
    """What a process may hold at once.

    A pool for accounts, one for administration, one connection to reload by, the listener's, those that write decisions, and
    one for the days of the record.
    """
    return min(MAX_BATCHES, pool_size) + pool_size + 2 + WRITERS + 1


def judge_timeouts(case: Connected) -> Finding:
    """No statement waits for ever."""
    asked_s = case.settings.database.statement_timeout_s
    found_s = case.server.statement_timeout_ms / 1000
    if abs(found_s - asked_s) < 0.001:  # noqa: PLR2004 - PostgreSQL counts milliseconds
        return ok(f"Statements end after {asked_s:g} s.")
    return warning(
        f"statement_timeout is {found_s:g} s on our connection, though we ask for {asked_s:g} s.",
        "something between us and PostgreSQL, such as a pooler, drops session settings: connect directly",
    )


def judge_clock(case: Connected) -> Finding:
    """This machine and the database agree what time it is: schedules are the database's, tokens this machine's."""
    apart = abs(case.skew_s)
    said = f"This machine's clock is {apart:.1f} s {'behind' if case.skew_s > 0 else 'ahead of'} the database's"
    if apart > _SKEW_NOT_READY_S:
        return error(f"{said}: tokens would begin or end at the wrong time.", "run an NTP client on both")
    if apart > _SKEW_NOTICED_S:
        return warning(f"{said}.", "run an NTP client on both")
    return ok("This machine and the database agree within 2 s.")


def judge_encoding(case: Connected) -> Finding:
    """Every character a resource may hold can be stored."""
    if case.server.encoding != "UTF8":
        return error(
            f"The database is encoded as {case.server.encoding}: names and claims beyond ASCII fail or change.",
            "create it anew with ENCODING 'UTF8'",
        )
    return ok("UTF8.")


def judge_privileges(case: Connected) -> Finding:
    """The user may do what `serve` does, and not necessarily more."""
    missing = case.server.missing_privileges
    if missing:
        return error(
            "The database user lacks what `serve` needs:",
            "as the owner of the tables, GRANT each of these to it",
            missing,
        )
    return ok("The database user may do what `serve` does.")


def judge_schema(case: Connected) -> Finding:
    """The tables are those this program was written for."""
    found, wanted = case.server.schema_versions, newest_version()
    if found is None:
        return error("The schema's version cannot be read.", "GRANT SELECT ON alembic_version to the database user")
    if not found:
        may = "" if case.server.may_create else ", as a user that may create tables here: this one may not"
        return error("There is no schema yet.", f"run `issuer migrate`{may}")
    if len(found) > 1 or not found[0].isdecimal():
        return error(
            f"The schema's version ({', '.join(found)}) is none of ours: another program's tables, or a failed migration.",
            "use a database of its own; if it is ours, restore it from the backup",
        )
    ahead = int(found[0]) - int(wanted)
    if ahead < 0:
        return error(
            f"The schema is {found[0]}, and this program needs {wanted}.",
            "run `issuer migrate`, then start this version",
        )
    if ahead > 1:
        return error(
            f"The schema is {found[0]}, and this program knows {wanted}: it is too old.", "deploy a newer version"
        )
    if ahead == 1:
        return warning(
            f"The schema is {found[0]}, one ahead of this program, which still runs on it.",
            "finish the upgrade: deploy the version that brought it",
        )
    return ok(f"Version {wanted}, as this program needs it.")
