"""`/explain`: the decision on an account's request, the policies behind each part, and what a change of them would do."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, ValidationError

from issuer.administration.authorize import Principal, authorize
from issuer.administration.effects import summary
from issuer.model.faults import Cause, Fault, Reason, causes_of, invalid, not_found
from issuer.model.kinds import POLICY_KINDS, SERVICE_ACCOUNT, kind_named, parse_manifest
from issuer.model.metadata import Written
from issuer.model.resource import GROUP, Resource
from issuer.model.scopes import Audience, ScopeToken
from issuer.policy.ceilings import Ceiling, Policies, compile_policy
from issuer.policy.reasons import Explained, explain
from issuer.protocol.authentication import METHOD_NAMES
from issuer.protocol.grants import TokenAsk
from issuer.snapshot import Governance
from issuer.sources import Sources
from issuer.store.database import Database
from issuer.store.resources import find


class Question(Written):
    """The body of `POST …/explain`. `with` and `without` change the policies for this answer only."""

    scope: Annotated[list[ScopeToken], Field(max_length=256)] | None = None
    """The scopes asked for; none when left out."""
    resource: Audience | None = None
    """The resource server asked for."""
    method: str | None = None
    """The client authentication method used; the account's first when left out."""
    with_: Annotated[list[dict[str, Any]], Field(max_length=16, alias="with")] = []
    """AuthPolicy and ClusterAuthPolicy objects, as if they were written."""
    without: Annotated[list[str], Field(max_length=64)] = []
    """Policies as if they were deleted: `ClusterAuthPolicy/NAME`, `AuthPolicy/NAMESPACE/NAME`."""


class Explanations:
    """Answers questions about decisions. Changes nothing."""

    def __init__(self, database: Database, governance: Callable[[], Governance], sources: Sources) -> None:
        self._database = database
        self._governance = governance
        self._sources = sources

    async def explain(self, principal: Principal, namespace: str, name: str, body: Any) -> Mapping[str, Any]:
        """The explanation as answered. Raises Fault."""
        authorize(principal, "get", GROUP, SERVICE_ACCOUNT.plural, namespace, name, "explain")
        try:
            question = Question.model_validate({} if body is None else body)
        except ValidationError as error:
            raise invalid("Explain", name, causes_of(error)) from None
        async with self._database.transaction() as connection:
            account = await find(connection, SERVICE_ACCOUNT, namespace, name)
        if account is None:
            raise not_found(SERVICE_ACCOUNT.kind, name)
        governance = self._governance()
        explained = self._explained(account, question, governance.policies, governance)
        answer = to_json(explained)
        if question.with_ or question.without:
            changed = self._changed(account, question, governance.policies)
            answer["changed"] = to_json(self._explained(account, question, changed, governance))
        return answer

    def _explained(
        self, account: Resource, question: Question, policies: Policies, governance: Governance
    ) -> Explained:
        ask = TokenAsk(tuple(question.scope) if question.scope else None, question.resource)
        method = question.method or account.spec["authentication"]["methods"][0]
        return explain(account, ask, method, policies, governance.catalogue, self._sources.now().timestamp())

    def _changed(self, account: Resource, question: Question, policies: Policies) -> Policies:
        known = {each.ref for each in policies.all()}
        refs = [_full_ref(ref, known) for ref in question.without]
        strangers = [ref for ref, full in zip(question.without, refs, strict=True) if full is None]
        if strangers:
            causes = [Cause("without", "FieldValueNotFound", f"there is no policy {ref}") for ref in strangers]
            raise invalid("Explain", "", causes)
        added = [self._compiled(document, account.namespace) for document in question.with_]
        return policies.changed(without=[ref for ref in refs if ref is not None], plus=added)

    def _compiled(self, document: Mapping[str, Any], default_namespace: str) -> Ceiling:
        kind = kind_named(str(document.get("kind", "")))
        if kind not in POLICY_KINDS or kind is None:
            raise Fault(Reason.BAD_REQUEST, "`with` takes AuthPolicy and ClusterAuthPolicy objects")
        metadata = document.get("metadata")
        named = metadata.get("namespace") if isinstance(metadata, dict) else None
        namespace = (str(named) if named else default_namespace) if kind.namespaced else ""
        manifest = parse_manifest(kind, document, namespace=namespace, name=None, methods=METHOD_NAMES)
        now = self._sources.now()
        return compile_policy(
            Resource(
                kind.api_version, kind.kind, namespace, manifest.metadata.name, self._sources.uid(), now, manifest.spec
            )
        )


def _full_ref(ref: str, known: set[str]) -> str | None:
    """The policy meant by a whole reference, or by a name only one policy has."""
    if ref in known:
        return ref
    candidates = [each for each in known if each.endswith(f"/{ref}")]
    return candidates[0] if len(candidates) == 1 else None


def to_json(explained: Explained) -> dict[str, Any]:
    """The decision, the answer without any policy, and every reason."""
    return {
        "decision": summary(explained.decision),
        "ungoverned": summary(explained.ungoverned),
        "withheld": [
            {"scope": each.scope, "why": each.why, "by": [asdict(by) for by in each.by]}
            for each in explained.decision.withheld
        ],
        "reasons": [asdict(reason) for reason in explained.reasons],
    }
