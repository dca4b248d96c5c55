"""What a command acts on, one object after the other: named by a person, or found by a selector at this moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from issuer.cli.named import Named, path_of
from issuer.cli.session import Session


@dataclass(frozen=True, slots=True)
class Target:
    """One object; `found` is how a selector found it, None when it was named."""

    named: Named
    found: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return str(self.named)

    def deletion(self) -> dict[str, Any] | None:
        """The body of its DELETE: what was made anew under the name meanwhile is not what the selector found."""
        return {"preconditions": {"uid": self.found["metadata"]["uid"]}} if self.found is not None else None


def select(session: Session, collection: Named, selection: Mapping[str, str]) -> list[Target]:
    """Everything the selection finds, by namespace and name. Raises RefusedError."""
    kind = collection.kind
    items = session.list(path_of(kind, collection.namespace), selection)
    addressed = [(item["metadata"].get("namespace", ""), item["metadata"]["name"], item) for item in items]
    return [Target(Named(kind, namespace, name), item) for namespace, name, item in addressed]
