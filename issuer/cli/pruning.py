"""`issuer apply --prune`: what was once applied, is selected, and stands in no file any more, is deleted."""

from collections.abc import Iterator, Mapping, Sequence

from issuer.cli.documents import Wanted
from issuer.cli.effects import say
from issuer.cli.lastapplied import ANNOTATION
from issuer.cli.named import NOT_FOUND, Named, about
from issuer.cli.output import note
from issuer.cli.selecting import Target, select
from issuer.cli.session import RefusedError, Session
from issuer.cli.several import try_all
from issuer.model.kinds import KINDS, NAMESPACE

PRUNED_KINDS = tuple(kind for kind in KINDS if kind.writable and kind is not NAMESPACE)


def prune(session: Session, wanted: Sequence[Wanted], selection: Mapping[str, str], *, dry_run: bool) -> None:
    """Deletes what the manifests left out, and says so. Raises typer.Exit when any of it is refused.

    Only what `issuer apply` or kubectl made, which its record of the last application proves; in the namespaces the
    manifests name, and everywhere for kinds without one.
    """
    kept = {each.named for each in wanted}
    namespaces = sorted(
        {each.namespace or each.name for each in kept if each.kind.namespaced or each.kind is NAMESPACE}
    )
    found = [each for each in _selected(session, namespaces, selection) if not _is_going(each)]
    if selection and not dry_run:
        _warn_of_strays(kept - {each.named for each in found}, selection)
    try_all(
        [each for each in found if _was_applied(each) and each.named not in kept],
        lambda each: _prune_one(session, each, dry_run=dry_run),
    )


def _selected(session: Session, namespaces: Sequence[str], selection: Mapping[str, str]) -> Iterator[Target]:
    """Everything selected where the manifests reach."""
    for kind in PRUNED_KINDS:
        for namespace in namespaces if kind.namespaced else [""]:
            collection = Named(kind, namespace, "")
            try:
                with about(collection):
                    found = select(session, collection, selection)
            except RefusedError as refused:
                if refused.code != NOT_FOUND:  # a namespace that a dry run only would make holds nothing
                    raise
            else:
                yield from found


def _is_going(target: Target) -> bool:
    return "deletionTimestamp" in (target.found or {})["metadata"]


def _was_applied(target: Target) -> bool:
    return ANNOTATION in ((target.found or {})["metadata"].get("annotations") or {})


def _warn_of_strays(unselected: set[Named], selection: Mapping[str, str]) -> None:
    """What was applied and is not selected would outlive its file: a label was forgotten."""
    for named in sorted(unselected, key=str):
        if named.kind in PRUNED_KINDS:
            note(
                f"Warning: {named}{named.place} does not match -l {selection['labelSelector']}: it is applied, "
                "but it will not be pruned when it leaves the files"
            )


def _prune_one(session: Session, target: Target, *, dry_run: bool) -> None:
    params = {"dryRun": "All"} if dry_run else {}
    with about(target.named):
        answer = session.call("DELETE", target.named.path, body=target.deletion(), params=params)
    say(target.named, "pruned", answer, dry_run=dry_run)
