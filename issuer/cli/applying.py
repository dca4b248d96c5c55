"""`issuer apply`: resources become what files say, by a three-way merge that leaves alone what others said."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from issuer.cli.connection import Connection, connected
from issuer.cli.documents import Wanted, namespaces_of, read_manifests
from issuer.cli.effects import say
from issuer.cli.lastapplied import authored, record_of, recorded, with_record
from issuer.cli.named import NOT_FOUND, Named, about, path_of
from issuer.cli.options import Files, InNamespace, Recursive, selection_of
from issuer.cli.output import CommandError, UsageError, note
from issuer.cli.pruning import prune
from issuer.cli.session import RefusedError, Session
from issuer.cli.several import try_all
from issuer.cli.threeway import is_same, stays_disabled, three_way_patch, with_disabled
from issuer.model.kinds import NAMESPACE

_ATTEMPTS = 5
"""How often a write is worked out anew because somebody else wrote in between."""


@connected
def apply(
    connection: Connection,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
    create_namespaces: Annotated[
        bool, typer.Option("--create-namespaces", help="First make the namespaces that do not exist yet.")
    ] = False,
    pruning: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Afterwards delete what was once applied, is selected by -l, and stands in no file any more.",
        ),
    ] = False,
    selector: Annotated[
        str | None,
        typer.Option("--selector", "-l", metavar="SELECTOR", help="With --prune: only what has these labels."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --prune: whatever its labels, instead of -l.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen; for a policy, to whom.")
    ] = False,
) -> None:
    """Create or change resources, so that they become what the files say.

    Everything is read before anything is written. What a file once said and no longer says is removed.

    What others set and no file ever named stays; an account that somebody disabled meanwhile stays disabled.

    --prune looks in the namespaces the files name, and everywhere for kinds without one; it never deletes a namespace.

    Example: issuer apply -f manifests/ --create-namespaces

    Example: issuer apply -f manifests/ --prune -l team=payments --dry-run
    """
    if pruning and (selector is None) is not everything:
        raise UsageError("--prune needs -l SELECTOR, or --all for whatever its labels")
    if not pruning and (everything or selector is not None):
        raise UsageError("-l and --all say what --prune deletes: use them with it")
    selection = selection_of(selector)
    wanted = read_manifests(filename or (), namespace, recursive=recursive)
    wanted.sort(key=lambda each: each.named.kind is not NAMESPACE)
    if create_namespaces:
        wanted = [*namespaces_of(wanted), *wanted]
    coming = {each.named.name for each in wanted if each.named.kind is NAMESPACE}
    with connection.session(write=True) as session:
        try:
            try_all(wanted, lambda each: _apply_one(session, each, coming, dry_run=dry_run))
        except typer.Exit:
            if pruning:
                note("nothing was pruned, because not everything could be applied")
            raise
        if pruning:
            prune(session, wanted, selection, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One object before and after. `before` None: it is new. `after` is the issuer's answer, or `before` itself.

    `held_back`: the manifest does not disable the account, but somebody did, and that stays.
    """

    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    held_back: bool = False

    @property
    def done(self) -> str:
        """`created`, `configured` or `unchanged`; the record of what was applied is no change."""
        if self.before is None:
            return "created"
        return "unchanged" if is_same(authored(self.before), authored(self.after)) else "configured"


def bring_about(session: Session, wanted: Wanted, *, dry_run: bool) -> Outcome:
    """The object as the manifest means it, worked out anew when somebody else writes in between. Raises RefusedError."""
    named, params = wanted.named, {"dryRun": "All"} if dry_run else {}
    conflict, tried = CommandError("others keep creating and deleting it", next_step="try again"), ""
    for _ in range(_ATTEMPTS):
        live = _found(session, named)
        if live is None:
            if created := _created(session, wanted, params):
                return Outcome(None, created)
            continue  # somebody else was faster
        if wanted.only_if_absent:
            return Outcome(live, live)
        revision = live["metadata"]["resourceVersion"]
        if revision == tried:
            break  # nobody wrote: the conflict is with a rule, not with a writer
        tried = revision
        patch, held_back = _patch_for(wanted, live)
        if not patch and not dry_run:  # a dry run is asked all the same: whom a policy reaches is worth knowing
            return Outcome(live, live, held_back)
        patch["metadata"] = {**(patch.get("metadata") or {}), "resourceVersion": revision}
        try:
            after = session.call("PATCH", named.path, body=patch, merge=True, params=params)
        except RefusedError as refused:
            if refused.reason != "Conflict":
                raise
            conflict = refused
        else:
            return Outcome(live, after, held_back)
    raise conflict


def try_out(session: Session, wanted: Wanted, coming: Container[str]) -> Outcome:
    """What `bring_about` would come to, nothing written. Raises RefusedError.

    `coming`: namespaces that may be made first. What stands in one that does not exist yet is taken as it is written.
    """
    try:
        return bring_about(session, wanted, dry_run=True)
    except RefusedError as refused:
        if refused.code != NOT_FOUND or refused.kind != NAMESPACE.kind or wanted.named.namespace not in coming:
            raise
    note(f"{wanted}{wanted.named.place} is not checked by the issuer, because its namespace does not exist yet")
    return Outcome(None, wanted.manifest())


def tell_what_is_held_back(named: Named, outcome: Outcome) -> None:
    """A note for an account that stays disabled although its manifest does not disable it."""
    if outcome.held_back:
        place = f" -n {named.namespace}" if named.namespace else ""
        note(
            f"{named} stays disabled{named.place}: somebody disabled it, and the manifest says nothing new about that; "
            f"`issuer edit {named}{place}` enables it (disabled: false)"
        )


def _patch_for(wanted: Wanted, live: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The merge patch that makes `live` what the manifest means, and whether an account stays disabled in spite of it."""
    manifest = wanted.manifest()
    try:
        applied = recorded(live)
    except ValueError as error:
        note(f"{wanted}{wanted.named.place}: what was last applied cannot be read ({error}), so nothing is removed")
        applied = None
    held_back = stays_disabled(applied, manifest, live)
    patch = three_way_patch(applied or {}, with_disabled(manifest) if held_back else manifest, live)
    if applied is None or not is_same(applied, manifest):
        patch = with_record(patch, record_of(manifest))
    return patch, held_back


def _apply_one(session: Session, wanted: Wanted, coming: Container[str], *, dry_run: bool) -> None:
    named = wanted.named
    with about(named, hint=f"add --create-namespaces, or first make the namespace {named.namespace}"):
        outcome = try_out(session, wanted, coming) if dry_run else bring_about(session, wanted, dry_run=False)
    if not (wanted.only_if_absent and outcome.before):
        say(named, outcome.done, outcome.after, dry_run=dry_run)
    tell_what_is_held_back(named, outcome)


def _found(session: Session, named: Named) -> dict[str, Any] | None:
    try:
        return session.call("GET", named.path)
    except RefusedError as refused:
        if refused.code != NOT_FOUND:
            raise
        return None


def _created(session: Session, wanted: Wanted, params: Mapping[str, str]) -> dict[str, Any] | None:
    """The new object; None when it exists meanwhile. What no file describes carries no record."""
    manifest = wanted.manifest()
    body = manifest if wanted.only_if_absent else with_record(manifest, record_of(manifest))
    try:
        return session.call("POST", path_of(wanted.named.kind, wanted.named.namespace), body=body, params=params)
    except RefusedError as refused:
        if refused.reason != "AlreadyExists":
            raise
        return None
