"""`issuer audit search` and `issuer audit tail`: the record of decisions about tokens, over the admin API."""

import json
import re
import time
from typing import Annotated

import typer

from issuer.cli.completion import complete_accounts, complete_namespaces
from issuer.cli.connection import Connection, connected
from issuer.cli.decisions import HEADERS, PAGE, Tail, line_of, read_decisions, rfc3339
from issuer.cli.following import interruptible
from issuer.cli.named import parse_account
from issuer.cli.output import Format, UsageError, note, print_document, print_table
from issuer.cli.rows import RunningTable
from issuer.cli.watching import EventFormat
from issuer.model.metadata import is_dns_label
from issuer.model.resource import API_VERSION
from issuer.model.times import parse_time

_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

AccountArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAMESPACE/NAME", help="Only this account; all of them when left out.", autocompletion=complete_accounts
    ),
]
OnlyNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Only accounts of this namespace; of all of them when left out.",
        autocompletion=complete_namespaces,
    ),
]
Uid = Annotated[
    str | None, typer.Option("--uid", metavar="UID", help="Only this very account, also when it is gone by now.")
]
Outcome = Annotated[
    str | None,
    typer.Option("--outcome", metavar="WORD", help="issued, refused, or one cause such as account_disabled."),
]
Jti = Annotated[str | None, typer.Option("--jti", metavar="ID", help="Only the token with this id.")]
Scope = Annotated[
    str | None, typer.Option("--scope", metavar="SCOPE", help="Only with this scope, granted or refused.")
]
Audience = Annotated[str | None, typer.Option("--audience", metavar="URI", help="Only for this audience.")]
Credential = Annotated[
    str | None, typer.Option("--credential", metavar="NAME", help="Only proven by this, as in secret/3.")
]
Kid = Annotated[str | None, typer.Option("--kid", metavar="KID", help="Only signed by this key.")]
TraceId = Annotated[str | None, typer.Option("--trace-id", metavar="HEX", help="Only of this trace (traceparent).")]


@connected
def search(
    connection: Connection,
    account: AccountArgument = None,
    namespace: OnlyNamespace = None,
    uid: Uid = None,
    outcome: Outcome = None,
    jti: Jti = None,
    scope: Scope = None,
    audience: Audience = None,
    credential: Credential = None,
    kid: Kid = None,
    trace_id: TraceId = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="From then on: how long ago (90m, 12h, 7d) or an RFC 3339 time. Without it: a day before --until, or now.",
        ),
    ] = None,
    end: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only before then; as --from.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many at most.")] = 50,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to write them.")] = Format.TABLE,
) -> None:
    """Search the record: which tokens were issued or refused, to whom, from where, for what. The newest first.

    Everywhere, in one namespace (-n) or about one account. Searches by account are fast; others read through the time
    they are about.

    Example: issuer audit search payments-prod/payment-service --outcome refused

    Example: issuer audit search --jti Jk3vQm0pD5sT9xYb --from 7d
    """
    path = _path(account, namespace)
    asked = _asked(
        account,
        uid=uid,
        outcome=outcome,
        jti=jti,
        scope=scope,
        audience=audience,
        credential=credential,
        kid=kid,
        traceId=trace_id,
    )
    now_s = time.time()
    asked |= {name: _instant(text, now_s) for name, text in (("from", begin), ("until", end)) if text}
    with interruptible(), connection.session(write=False) as session:
        found = list(read_decisions(session, path, asked, limit))
    if output is not Format.TABLE:
        print_document(
            {"apiVersion": API_VERSION, "kind": "DecisionRecordList", "metadata": {}, "items": found}, output
        )
    elif found:
        print_table(HEADERS, [line_of(record) for record in found])
    else:
        note("Nothing of the kind is on record." + ("" if begin else " --from looks further back than a day."))


@connected
def tail(
    connection: Connection,
    account: AccountArgument = None,
    namespace: OnlyNamespace = None,
    uid: Uid = None,
    outcome: Outcome = None,
    jti: Jti = None,
    scope: Scope = None,
    audience: Audience = None,
    credential: Credential = None,
    kid: Kid = None,
    trace_id: TraceId = None,
    lines: Annotated[int, typer.Option("--lines", metavar="N", min=0, max=PAGE, help="How many to begin with.")] = 10,
    output: Annotated[
        EventFormat, typer.Option("--output", "-o", help="A table that grows, or one JSON record a line.")
    ] = EventFormat.TABLE,
) -> None:
    """Show the newest records, then every new one as it comes, until Ctrl-C.

    The issuer may restart meanwhile. Where more happens than can be shown, it says so: narrow it down.

    Example: issuer audit tail -n payments-prod --outcome refused
    """
    path = _path(account, namespace)
    asked = _asked(
        account,
        uid=uid,
        outcome=outcome,
        jti=jti,
        scope=scope,
        audience=audience,
        credential=credential,
        kid=kid,
        traceId=trace_id,
    )
    table = RunningTable(HEADERS)
    with interruptible(), connection.session(write=False) as session:
        for records in Tail(session, path, asked).batches(lines):
            if output is EventFormat.TABLE:
                table.add([line_of(record) for record in records])
            else:
                for record in records:
                    print(json.dumps(record), flush=True)


def _path(account: str | None, namespace: str | None) -> str:
    """The list of one namespace, or of all. Raises UsageError."""
    if account is not None:
        within = parse_account(account).namespace
        if namespace not in {None, within}:
            raise UsageError(f"{account}: its namespace is not the one of -n")
        namespace = within
    if namespace is not None and not is_dns_label(namespace):
        raise UsageError(f"{namespace!r} cannot be the name of a namespace")
    return f"/apis/{API_VERSION}" + (f"/namespaces/{namespace}" if namespace else "") + "/decisionrecords"


def _asked(account: str | None, **narrowing: str | None) -> dict[str, str]:
    """What narrows the list, by the names of the parameters."""
    asked = {"account": parse_account(account).name} if account is not None else {}
    return asked | {name: value for name, value in narrowing.items() if value is not None}


def _instant(text: str, now_s: float) -> str:
    """The time that `90m` or an RFC 3339 time means. Raises UsageError."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return rfc3339(now_s - int(ago[1]) * _UNITS_S[ago[2]])
    try:
        parse_time(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", next_step="write how long ago, as in 90m, 12h or 7d, or 2027-01-31T12:00:00Z"
        ) from None
    return text
