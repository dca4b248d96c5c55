"""`issuer explain`: what a request of an account would get, by which line of which policy, and what a change would do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from issuer.cli.connection import Connection, connected
from issuer.cli.credentials import AccountArgument
from issuer.cli.documents import read_manifests
from issuer.cli.named import about, parse_account
from issuer.cli.output import Format, print_document, print_table

_NOTHING = "-"


@connected
def explain(
    connection: Connection,
    account: AccountArgument,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", metavar="SCOPE", help="As in a token request; repeatable.")
    ] = None,
    resource: Annotated[str | None, typer.Option("--resource", metavar="URI", help="The resource server.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Client authentication method; the account's first when left out.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="POLICY",
            help="As if this policy did not exist: ClusterAuthPolicy/NAME or AuthPolicy/NAMESPACE/NAME; repeatable.",
        ),
    ] = None,
    with_file: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="FILE", help="As if the policies in this file were written; repeatable."),
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to write it.")] = Format.TABLE,
) -> None:
    """Explain what an account's token request would get: which line of which policy decides which part.

    Nothing is issued and nothing is changed. `*` marks what binds; the rest is only the next stricter ceiling below it.

    Example: issuer explain payments-prod/payment-service --scope api:payments --without ClusterAuthPolicy/production
    """
    named = parse_account(account)
    question: dict[str, Any] = {
        "scope": [each for given in scope or () for each in given.split()] or None,
        "resource": resource,
        "method": method,
        "without": list(without or ()),
        "with": [
            dict(each.document)
            for path in with_file or ()
            for each in read_manifests([str(path)], None, recursive=False)
        ],
    }
    body = {key: value for key, value in question.items() if value}
    with connection.session(write=False) as session, about(named):
        answer = session.call("POST", f"{named.path}/explain", body=body)
    if output is not Format.TABLE:
        print_document(answer, output)
        return
    _print_explained(answer)


def _print_explained(answer: Mapping[str, Any]) -> None:
    columns = {"now": answer["decision"], "without any policy": answer["ungoverned"]}
    if "changed" in answer:
        columns["with the change"] = answer["changed"]["decision"]
    parts = ("refused", "scope", "audience", "accessTokenTTL", "maxTokensPerMinute", "claims", "why")
    rows = [
        [part, *(_text(column.get(part)) for column in columns.values())]
        for part in parts
        if any(column.get(part) for column in columns.values())
    ]
    print_table(["PART", *(name.upper() for name in columns)], rows)
    _print_reasons("Because of", answer)
    if "changed" in answer:
        _print_reasons("With the change, because of", answer["changed"])


def _print_reasons(title: str, answer: Mapping[str, Any]) -> None:
    rows = [
        [each["part"], each["policy"], f"spec.{each['field']}", "*" if each["binding"] else ""]
        for each in answer["reasons"]
    ]
    rows += [[f"scope {each['scope']}", _NOTHING, each["why"], "*"] for each in answer["withheld"] if not each["by"]]
    print()
    if rows:
        print(f"{title}:")
        print_table(["PART", "POLICY", "FIELD", "BINDS"], rows)
    else:
        print(f"{title}: no policy.")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items()) or _NOTHING
    return str(value) if value not in {None, ""} else _NOTHING
