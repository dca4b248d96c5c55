"""The Kubernetes clients that operators are written with, against a real admin port and a bearer token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, dynamic, watch
from kubernetes.client.rest import ApiException

from issuer.model.resource import GROUP, VERSION
from issuer.model.scopes import ADMIN_AUDIENCE
from tests.blackbox.processes import Started
from tests.databases import Databases

PLURAL, NAMESPACE = "serviceaccounts", "operators"


@pytest.fixture(scope="module")
def api_client(server: Started, databases: Databases) -> Iterator[client.ApiClient]:
    """The generated client of the `kubernetes` package, pointed at the admin port. The namespace is there."""
    admin = databases.bootstrapped.admin
    token = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE).json()["access_token"]
    configuration = client.Configuration(host=server.admin)
    configuration.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(configuration) as made:
        client.CoreV1Api(made).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
        yield made


@pytest.fixture(scope="module")
def accounts(api_client: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api_client)


def account(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "labels": labels},
        "spec": {"scopes": ["api:read"]},
    }


def test_the_custom_objects_client_creates_reads_lists_patches_and_deletes(accounts: client.CustomObjectsApi) -> None:
    where = (GROUP, VERSION, NAMESPACE, PLURAL)
    made = accounts.create_namespaced_custom_object(*where, account("one", tier="a"))
    assert made["status"]["clientId"] == f"sa-{made['metadata']['uid']}"
    accounts.create_namespaced_custom_object(*where, account("two", tier="b"))

    listed = accounts.list_namespaced_custom_object(*where, label_selector="tier in (a)", limit=10)
    assert [each["metadata"]["name"] for each in listed["items"]] == ["one"]
    everywhere = accounts.list_cluster_custom_object(GROUP, VERSION, PLURAL, field_selector="metadata.name=two")
    assert [each["metadata"]["namespace"] for each in everywhere["items"]] == [NAMESPACE]

    patched = accounts.patch_namespaced_custom_object(
        *where, "one", {"spec": {"owner": "ops"}}, _content_type="application/merge-patch+json"
    )
    assert (patched["spec"]["owner"], patched["metadata"]["generation"]) == ("ops", 2)

    gone = accounts.delete_namespaced_custom_object(*where, "two")
    assert gone["status"] == "Success"
    with pytest.raises(ApiException) as caught:
        accounts.get_namespaced_custom_object(*where, "two")
    assert caught.value.status == 404


def test_a_stale_write_is_a_conflict_the_client_understands(accounts: client.CustomObjectsApi) -> None:
    where = (GROUP, VERSION, NAMESPACE, PLURAL)
    stale = accounts.create_namespaced_custom_object(*where, account("raced"))
    driver = {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}, "spec": {"owner": "a"}}
    patch = {"_content_type": "application/merge-patch+json"}
    accounts.patch_namespaced_custom_object(*where, "raced", driver, **patch)
    with pytest.raises(ApiException) as caught:
        accounts.patch_namespaced_custom_object(*where, "raced", driver, **patch)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")


def test_a_watch_tells_what_happened_since_the_list_and_no_more(accounts: client.CustomObjectsApi) -> None:
    where = (GROUP, VERSION, NAMESPACE, PLURAL)
    selector = {"label_selector": "watched=yes"}
    accounts.create_namespaced_custom_object(*where, account("before", watched="yes"))
    listed = accounts.list_namespaced_custom_object(*where, **selector)
    accounts.create_namespaced_custom_object(*where, account("unseen"))
    accounts.create_namespaced_custom_object(*where, account("seen", watched="yes"))
    merge = {"_content_type": "application/merge-patch+json"}
    accounts.patch_namespaced_custom_object(*where, "seen", {"spec": {"disabled": True}}, **merge)
    accounts.patch_namespaced_custom_object(*where, "before", {"metadata": {"labels": {"watched": None}}}, **merge)
    accounts.delete_namespaced_custom_object(*where, "seen")

    stream = watch.Watch().stream(
        accounts.list_namespaced_custom_object,
        *where,
        **selector,
        resource_version=listed["metadata"]["resourceVersion"],
        timeout_seconds=1,
    )
    events = [(event["type"], event["object"]["metadata"]["name"]) for event in stream]
    assert events == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "before"), ("DELETED", "seen")]


def test_the_dynamic_client_finds_the_kinds_by_discovery(api_client: client.ApiClient, tmp_path: Path) -> None:
    found = dynamic.DynamicClient(api_client, cache_file=str(tmp_path / "discovered"))
    assert found.version["kubernetes"]["gitVersion"].startswith("v")
    policies = found.resources.get(api_version=f"{GROUP}/{VERSION}", kind="AuthPolicy")
    assert (policies.name, policies.namespaced) == ("authpolicies", True)
    assert found.resources.get(api_version=f"{GROUP}/{VERSION}", short_names=["sa"]).kind == "ServiceAccount"

    policy = {"metadata": {"name": "short-lived"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "5m"}}}
    made = policies.create(
        body={"apiVersion": f"{GROUP}/{VERSION}", "kind": "AuthPolicy", **policy}, namespace=NAMESPACE
    )
    assert made.spec.tokenSettings.maxAccessTokenTTL == "5m"
    assert [each.metadata.name for each in policies.get(namespace=NAMESPACE).items] == ["short-lived"]
    assert NAMESPACE in {
        each.metadata.name for each in found.resources.get(api_version="v1", kind="Namespace").get().items
    }
