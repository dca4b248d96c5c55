"""Who may do what: the one choke point every handler passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from issuer.model.faults import Fault, Reason
from issuer.model.scopes import ADMIN_READ_SCOPE, ADMIN_SCOPE

READ_VERBS = frozenset({"get", "list", "watch"})
SECRET_SUBRESOURCES = frozenset({"credentials"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, in every record. `kind` `local` is the command line beside the database, `system` the issuer itself."""

    kind: Literal["account", "local", "system"]
    name: str
    uid: str = ""
    credential: str = ""
    scopes: frozenset[str] = frozenset()

    def to_json(self) -> Mapping[str, Any]:
        """As in audit records."""
        parts = {"kind": self.kind, "name": self.name, "uid": self.uid, "credential": self.credential}
        return {key: value for key, value in parts.items() if value}


SYSTEM = Principal("system", "system")


def authorize(
    principal: Principal, verb: str, group: str, kind: str, namespace: str, name: str, subresource: str = ""
) -> None:
    """Raises Fault (403) unless the principal may. Reading or making a secret needs `issuer:admin`."""
    if principal.kind != "account" or ADMIN_SCOPE in principal.scopes:
        return
    reading = verb in READ_VERBS and subresource not in SECRET_SUBRESOURCES
    if reading and ADMIN_READ_SCOPE in principal.scopes:
        return
    needed = ADMIN_READ_SCOPE if reading else ADMIN_SCOPE
    target = "/".join(part for part in (namespace, name, subresource) if part)
    raise Fault(
        Reason.FORBIDDEN,
        f"{principal.name} may not {verb} {kind}.{group} {target}".rstrip() + f": the token lacks the scope {needed}",
        kind=kind,
        name=name,
    )
