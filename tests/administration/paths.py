"""Paths and documents of the admin API, as its tests write them."""

from typing import Any

import httpx

from tests.world import ACCOUNTS

ACCOUNT = ACCOUNTS.format(namespace="payments")
KEYSETS = "/apis/auth.nauthera.io/v1alpha1/keysets"
MERGE = {"content-type": "application/merge-patch+json"}

_METADATA = ("namespace", "uid", "resourceVersion", "labels", "annotations", "finalizers")


def account(name: str, **fields: Any) -> dict[str, Any]:
    """A ServiceAccount; fields of metadata and of spec side by side."""
    metadata = {field: fields.pop(field) for field in _METADATA if field in fields}
    return {"metadata": {"name": name, **metadata}, "spec": {"scopes": ["api:read"], **fields}}


def account_path(name: str) -> str:
    """The account in the namespace `payments`."""
    return f"{ACCOUNT}/{name}"


def status_of(answer: httpx.Response) -> tuple[int, str]:
    """HTTP code and reason; both writings of the code must agree."""
    body = answer.json()
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", answer.status_code), body
    return answer.status_code, str(body["reason"])
