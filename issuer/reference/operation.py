"""One request: what a path and method of the admin port reads, answers and refuses."""

from dataclasses import dataclass
from typing import Literal

from issuer.administration.authorize import READ_VERBS, SECRET_SUBRESOURCES
from issuer.model.faults import Reason
from issuer.model.kinds import Kind
from issuer.model.resource import API_VERSION
from issuer.model.scopes import ADMIN_READ_SCOPE, ADMIN_SCOPE

GROUP_ROOT = f"/apis/{API_VERSION}"
ANY_CALL = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.INTERNAL_ERROR, Reason.SERVICE_UNAVAILABLE})
ONE = ANY_CALL | {Reason.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `answer` and `body` name component schemas; an answer that may be one of several has several, and none is plain text.
    `verb` is Kubernetes' word for it. `query`: names of parameters. `guarded`: needs a token.
    """

    method: Literal["get", "post", "put", "patch", "delete"]
    path: str
    id: str
    summary: str
    answer: tuple[str, ...]
    code: int = 200
    verb: str = "get"
    kind: Kind | None = None
    subresource: str = ""
    query: tuple[str, ...] = ()
    body: str = ""
    body_required: bool = True
    refusals: frozenset[Reason] = ANY_CALL
    guarded: bool = True

    @property
    def scope(self) -> str:
        """The scope a token must hold."""
        reads = self.verb in READ_VERBS and self.subresource not in SECRET_SUBRESOURCES
        return ADMIN_READ_SCOPE if reads else ADMIN_SCOPE
