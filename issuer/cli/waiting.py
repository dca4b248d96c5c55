"""`issuer wait`: until a condition holds or an object is gone, told by the issuer, never polled for."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from issuer.cli.completion import complete_names
from issuer.cli.connection import Connection, connected
from issuer.cli.following import DELETED, follow, interruptible
from issuer.cli.named import NOT_FOUND, Named, about, parse_sought, parse_target, path_of
from issuer.cli.options import AllNamespaces, InNamespace, KindArgument, Selector, selection_of
from issuer.cli.output import CommandError, UsageError, note
from issuer.cli.selecting import select
from issuer.cli.session import RefusedError, Session
from issuer.cli.targets import parse_object
from issuer.model.durations import parse_duration_s


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for: a condition with this status, or without a condition that the object is gone."""

    condition: str = ""
    status: str = ""

    @property
    def said(self) -> str:
        """What is printed when it is reached."""
        return "condition met" if self.condition else "deleted"

    def missing(self, found: Mapping[str, Any] | None) -> str:
        """What keeps the object, None when there is none, from it; empty when nothing does."""
        if found is None:
            return "does not exist" if self.condition else ""
        if not self.condition:
            return "is still there"
        listed = (found.get("status") or {}).get("conditions") or ()
        condition = next((each for each in listed if each["type"] == self.condition), None)
        if condition is None:
            there = ", ".join(each["type"] for each in listed) or "none"
            return f"has no condition {self.condition} (it has {there})"
        generation = found["metadata"].get("generation", 0)
        if condition.get("observedGeneration", generation) < generation:
            return f"condition {self.condition} does not yet speak of the newest change"
        if condition["status"].lower() == self.status.lower():
            return ""
        return f"condition {self.condition} is {condition['status']} ({condition.get('reason') or 'no reason'})"


@connected
def wait(
    connection: Connection,
    kind: KindArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Which ones: NAME or NAMESPACE/NAME; or -l.", autocompletion=complete_names
        ),
    ] = None,
    goal: Annotated[
        str, typer.Option("--for", metavar="GOAL", help="condition=TYPE, condition=TYPE=STATUS, or delete.")
    ] = "",
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="How long for all of them together; 0s looks once.")
    ] = "30s",
    namespace: InNamespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = None,
) -> None:
    """Wait until a condition holds, or until objects are gone. What does not exist yet is waited for too.

    Example: issuer wait sa payments-prod/payment-service --for=condition=Ready --timeout 1m
    """
    wanted = parse_goal(goal)
    until_s = time.monotonic() + _seconds(timeout)
    row, called = parse_target(kind, None)
    given = [*([called] if called else []), *(names or [])]
    if bool(given) == bool(selector) or (all_namespaces and not selector):
        raise UsageError(
            "say what to wait for: names, or -l SELECTOR with or without -A", next_step="issuer wait --help"
        )
    selection = selection_of(selector)
    targets = [parse_object(row.plural, text, namespace) for text in given]
    with interruptible(), connection.session(write=False) as session:
        if selector:
            collection = parse_sought(kind, None, namespace, all_namespaces=all_namespaces)
            with about(collection, implied=namespace is None):
                targets = [each.named for each in select(session, collection, selection)]
            if not targets and wanted.condition:
                raise CommandError(f"there are no {row.plural}{collection.place} that match -l {selector}")
        missing = []
        for named in targets:
            with about(named, implied=namespace is None):
                if lacks := _await(session, named, wanted, until_s):
                    missing.append(f"{named}{named.place}: {lacks}")
                else:
                    print(f"{named} {wanted.said}{named.place}", flush=True)
    if missing:
        raise CommandError(f"not reached within {timeout}", details=missing)


def parse_goal(text: str) -> Goal:
    """What `--for` means. Raises UsageError."""
    word, _, rest = text.partition("=")
    if text == "delete":
        return Goal()
    condition, _, status = rest.partition("=")
    if word != "condition" or not condition:
        raise UsageError("say what to wait for: --for=condition=Ready, --for=condition=Ready=False or --for=delete")
    return Goal(condition, status or "True")


def _seconds(timeout: str) -> int:
    try:
        return parse_duration_s(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {error}") from None


def _await(session: Session, named: Named, goal: Goal, until_s: float) -> str:
    """What the object still lacks when time is up; empty as soon as it lacks nothing."""
    found: Mapping[str, Any] | None = None
    said = False
    try:
        for events in follow(
            session, path_of(named.kind, named.namespace), selection_of(None, named.name), until_s=until_s
        ):
            for event in events:
                found = None if event["type"] == DELETED else event["object"]
                if not goal.missing(found):
                    return ""
            if not goal.missing(found):
                return ""
            if found is None and not said:
                note(f"{named} does not exist{named.place} yet")
                said = True
    except RefusedError as refused:
        if goal.condition or refused.code != NOT_FOUND:
            raise
        return ""  # its namespace is gone, and it with it
    return goal.missing(found)
