"""What the fuzzer is told about this API that neither an OpenAPI document nor its configuration can say."""

from typing import Any, TypeAlias

import schemathesis

from issuer.model.keyset import DEFAULT_KEYSET

SYSTEM, HOME = "issuer-system", "fuzz"
Case: TypeAlias = schemathesis.Case[Any]


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: Case, **__: Any) -> None:
    """Changes a request in the last moment."""
    _spare_the_branch_it_sits_on(case)
    _do_not_wait(case)


def _spare_the_branch_it_sits_on(case: Case) -> None:
    """Its own account, policies over that, the namespace everything happens in, and the key that signed its token."""
    path = case.path_parameters or {}
    for name in ("namespace", "name"):
        if path.get(name) == SYSTEM:
            path[name] = HOME
    if case.method == "DELETE" and case.path == "/api/v1/namespaces/{name}" and path.get("name") == HOME:
        path["name"] = "another"
    if case.path.endswith("/keysets/{name}/compromise") and path.get("name") == DEFAULT_KEYSET:
        path["name"] = "worker"
    spec = case.body.get("spec") if isinstance(case.body, dict) else None
    if isinstance(spec, dict) and spec.get("appliesToSystem") is True:
        spec["appliesToSystem"] = False


def _do_not_wait(case: Case) -> None:
    """A watch is a stream that ends by itself in half an hour: what it sends is compared with LIST elsewhere."""
    query = case.query or {}
    if str(query.get("watch")).lower() in {"true", "1"}:
        query["watch"] = "false"
