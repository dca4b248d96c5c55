"""The record of what was last applied: byte for byte as kubectl writes it."""

from typing import Any

import pytest

from issuer.cli.lastapplied import ANNOTATION, authored, record_of, recorded

# Written by kubectl for the Service in the Kubernetes Dashboard's recommended.yaml (v2), as `kubectl edit` shows it.
BY_KUBECTL = (
    '{"apiVersion":"v1","kind":"Service","metadata":{"annotations":{},"labels":{"k8s-app":"kubernetes-dashboard"},'
    '"name":"kubernetes-dashboard","namespace":"kubernetes-dashboard"},"spec":{"ports":[{"port":443,"targetPort":8443}],'
    '"selector":{"k8s-app":"kubernetes-dashboard"}}}\n'
)


def object_with(record: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "annotations": {ANNOTATION: record}, **metadata}}


def test_what_kubectl_wrote_is_read_and_written_back_the_same() -> None:
    manifest = recorded(object_with(BY_KUBECTL))
    assert manifest is not None
    assert manifest["spec"]["ports"] == [{"port": 443, "targetPort": 8443}]
    assert record_of(manifest) == BY_KUBECTL


def test_the_order_of_the_manifest_does_not_show_in_the_record() -> None:
    one = {"kind": "Scope", "metadata": {"name": "x", "annotations": {"b": "1", "a": "2"}}}
    assert record_of(one) == '{"kind":"Scope","metadata":{"annotations":{"a":"2","b":"1"},"name":"x"}}\n'


def test_text_is_escaped_as_go_escapes_it() -> None:
    """encoding/json: HTML's characters and JavaScript's line ends as escapes, all other text as it is."""
    said = record_of({"metadata": {"name": '<&> é \u2028\t"'}})
    assert said == '{"metadata":{"annotations":{},"name":"\\u003c\\u0026\\u003e é \\u2028\\t\\""}}\n'


def test_the_record_holds_neither_itself_nor_what_the_issuer_owns() -> None:
    live = object_with("{}", uid="u", resourceVersion="7", generation=2, namespace="n") | {"status": {"ready": True}}
    assert authored(live) == {"metadata": {"name": "x", "namespace": "n"}}


def test_an_object_nobody_applied_has_no_record() -> None:
    assert recorded({"metadata": {"name": "x"}}) is None
    assert recorded({"metadata": {"name": "x", "annotations": {"team": "a"}}}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_record_that_cannot_be_read_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|object"):
        recorded(object_with(text))
