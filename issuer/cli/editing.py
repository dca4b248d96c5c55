"""`issuer edit`: an object in an editor and back, and what somebody typed is never lost."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from issuer.cli.connection import Connection, connected
from issuer.cli.lastapplied import ANNOTATION, authored
from issuer.cli.named import DEFAULT_NAMESPACE, Named, about
from issuer.cli.options import InNamespace
from issuer.cli.output import CommandError, UsageError, note
from issuer.cli.session import RefusedError, Session
from issuer.cli.targets import OneKind, OneName, parse_object
from issuer.manifests import ManifestError, parse_documents, to_yaml

_INVITATION = """\
# Edit, save and leave the editor. Lines that begin with '#' here at the top are dropped; an empty file changes nothing.
# Whatever you remove is removed, or goes back to its default.
"""
_TO_BE_MENDED = frozenset({"BadRequest", "Invalid", "RequestEntityTooLarge"})
"""Refusals that another text may avoid."""


class Unusable(Exception):
    """The text cannot be written as it is; one line a fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Original:
    """The object as it was read. What is written back is conditional on it."""

    named: Named
    live: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What the editor shows: what people write of it."""
        return to_yaml(authored(self.live))

    def changed_to(self, text: str) -> dict[str, Any] | None:
        """The document to write, None when the text says nothing new. Raises Unusable."""
        try:
            documents = parse_documents(text)
        except ManifestError as error:
            raise Unusable(str(error)) from None
        if not documents:
            return None
        if (
            len(documents) > 1
            or not isinstance(documents[0], dict)
            or not isinstance(documents[0].get("metadata"), dict)
        ):
            raise Unusable("one object is wanted, with its metadata")
        document = documents[0]
        if document == authored(self.live):
            return None
        metadata, was = document["metadata"], self.live["metadata"]
        moved = [
            f"{place}{part}: must stay {of.get(part)}"
            for place, now, of, parts in (
                ("", document, self.live, ("apiVersion", "kind")),
                ("metadata.", metadata, was, ("name", "namespace")),
            )
            for part in parts
            if now.get(part) != of.get(part)
        ]
        if moved:
            raise Unusable(*moved)
        return {**document, "metadata": self._metadata(metadata)}

    def _metadata(self, edited: Mapping[str, Any]) -> dict[str, Any]:
        """With what the editor did not show: which state of which object this is, and the record of `issuer apply`."""
        was = self.live["metadata"]
        metadata = {**edited, "uid": was["uid"], "resourceVersion": was["resourceVersion"]}
        record = (was.get("annotations") or {}).get(ANNOTATION)
        annotations = metadata.get("annotations") or {}
        if record is not None and isinstance(annotations, dict):
            metadata["annotations"] = {**annotations, ANNOTATION: record}
        return metadata


@connected
def edit(connection: Connection, kind: OneKind, name: OneName = None, namespace: InNamespace = None) -> None:
    """Change one object in an editor: $VISUAL, else $EDITOR, else vi.

    What the issuer refuses is shown again with the reasons. If somebody else changed the object meanwhile, nothing is
    written; your text is kept in a file whenever it could not be.

    Example: issuer edit serviceaccount payment-service -n payments-prod
    """
    named = parse_object(kind, name, namespace)
    implied = namespace is None and named.namespace == DEFAULT_NAMESPACE
    with connection.session(write=True) as session, about(named, implied=implied):
        original = Original(named, session.call("GET", named.path))
        done = _edit(session, original)
    if done:
        print(f"{named} edited{named.place}")
    else:
        note("Edit cancelled, no changes made.")


def _edit(session: Session, original: Original) -> bool:
    """Whether something was written. Raises CommandError; then the text is kept."""
    text, faults = original.text, list[str]()
    while True:
        edited = _without_comments(_in_editor(_comments(faults) + text, original))
        if faults and edited == text:
            trouble = CommandError("the text was left as it was refused: nothing was changed", details=faults)
            raise _kept(text, trouble, original)
        text = edited
        try:
            document = original.changed_to(text)
            if document is None:
                return False
            written = session.call("PUT", original.named.path, body=document)
        except Unusable as error:
            faults = list(error.faults)
        except RefusedError as refused:
            if refused.reason not in _TO_BE_MENDED:
                raise _kept(text, refused, original) from None
            faults = [refused.message, *refused.details]
        except CommandError as trouble:
            raise _kept(text, trouble, original) from None
        else:
            # What was removed may have been a default: then nothing changed after all.
            return bool(written["metadata"]["resourceVersion"] != original.live["metadata"]["resourceVersion"])


def _in_editor(text: str, original: Original) -> str:
    """The text after a person had it. Raises CommandError when the editor fails; what it left behind is kept."""
    command = _editor()
    with tempfile.TemporaryDirectory(prefix="issuer-edit-") as folder:
        path = Path(folder, f"{original.named.name}.yaml")
        path.write_text(text, "utf-8")
        try:
            exit_code = subprocess.run([*command, str(path)], check=False).returncode  # noqa: S603 - the user's own
            edited = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it wrote no UTF-8 text"
            unusable = CommandError(
                f"the editor {command[0]} could not be used: {why}", next_step="set VISUAL or EDITOR to another one"
            )
            raise _kept(_without_comments(text), unusable, original) from None
    if exit_code != 0:
        failed = CommandError(f"the editor {command[0]} ended with exit code {exit_code}: nothing was changed")
        raise _kept(_without_comments(edited), failed, original)
    return edited


def _editor() -> list[str]:
    """The words of the user's editor command. Raises UsageError when it cannot be read."""
    given = (os.environ.get("VISUAL") or os.environ.get("EDITOR") or "").strip() or "vi"
    try:
        return shlex.split(given)
    except ValueError:
        raise UsageError(f"VISUAL or EDITOR is no command: {given}") from None


def _kept(text: str, trouble: CommandError, original: Original) -> CommandError:
    """The trouble, with word of the file that the text is in now if anything was changed in it."""
    if text == original.text:
        return trouble
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="issuer-edit-", suffix=".yaml", delete=False
    ) as file:
        file.write(text)
    kept = f"your text is kept in {file.name}"
    trouble.next_step = f"{trouble.next_step}; {kept}" if trouble.next_step else kept
    return trouble


def _comments(faults: list[str]) -> str:
    """What stands above the text: an invitation, or why it was refused."""
    said = [line for fault in faults for line in fault.splitlines()]
    return _INVITATION + ("#\n# Refused:\n" + "".join(f"#   {line}\n" for line in said) if said else "")


def _without_comments(text: str) -> str:
    """Without the comments at the top; those of the person in the text stay."""
    lines = text.splitlines(keepends=True)
    first = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[first:])
