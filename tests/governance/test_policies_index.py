"""Policies asked directly: whom one reaches, what a change of the index leaves, which methods are left of an account's own."""

from typing import Any

import pytest

from issuer.failures import Failure
from issuer.policy.ceilings import Ceiling
from issuer.policy.decide import Denied, is_refused_method
from issuer.policy.governed import govern
from tests.governance.builders import account, answer, catalogue, cluster_policy, policies, policy

STRICT: Any = {"tokenSettings": {"maxAccessTokenTTL": "1m"}}


def three() -> list[Ceiling]:
    return [cluster_policy("c"), policy("n"), policy("n", "billing")]


def refs(ceilings: tuple[Ceiling, ...]) -> list[str]:
    return [each.ref for each in ceilings]


def test_an_auth_policy_asked_directly_reaches_its_own_namespace_only() -> None:
    """A dry run asks the changed policy itself, not the index."""
    assert policy().reaches(account(), {})
    assert not policy(namespace="billing").reaches(account(), {})
    assert cluster_policy().reaches(account(), {})


def test_the_index_gives_an_account_the_clusters_policies_and_then_its_namespaces() -> None:
    index = policies(*three())
    assert refs(index.reaching(account())) == ["ClusterAuthPolicy/c", "AuthPolicy/payments/n"]
    assert refs(index.all()) == ["ClusterAuthPolicy/c", "AuthPolicy/payments/n", "AuthPolicy/billing/n"]


@pytest.mark.parametrize("gone", ["ClusterAuthPolicy/c", "AuthPolicy/payments/n", "AuthPolicy/billing/n"])
def test_policies_without_one_are_all_the_others(gone: str) -> None:
    left = policies(*three()).changed(without=[gone])
    assert refs(left.all()) == [each for each in refs(policies(*three()).all()) if each != gone]


def test_a_policy_added_takes_the_place_of_its_namesake_and_no_others() -> None:
    labels = {"payments": {"env": "prod"}}
    changed = policies(*three(), namespace_labels=labels).changed(plus=[policy("n", **STRICT), policy("new")])
    assert {each.ref: each.max_ttl_s for each in changed.all()} == {
        "ClusterAuthPolicy/c": None,
        "AuthPolicy/payments/n": 60,
        "AuthPolicy/payments/new": None,
        "AuthPolicy/billing/n": None,
    }
    assert changed.namespace_labels == labels


def test_the_methods_left_are_the_accounts_own_that_no_policy_withholds() -> None:
    def left(*ceilings: Ceiling) -> tuple[str, ...]:
        return govern(account(), policies(*ceilings), catalogue()).methods_left

    assert left() == ("client_secret_basic", "client_secret_post")
    assert left(policy(clientAuthentication={"allowedMethods": ["client_secret_post"]})) == ("client_secret_post",)
    assert left(policy(clientAuthentication={"allowedMethods": ["private_key_jwt"]})) == ()


def test_only_a_refused_method_means_that_nobody_was_authenticated() -> None:
    withheld = answer(account(), policy(clientAuthentication={"allowedMethods": []}))
    other = answer(account(), policy(scopes={"allowed": []}))
    assert isinstance(withheld, Denied)
    assert isinstance(other, Denied)
    assert (withheld.failure, other.failure) == (Failure.METHOD_NOT_ACCEPTED, Failure.SCOPE_WITHHELD)
    assert [is_refused_method(each) for each in (withheld, other, answer(account()))] == [True, False, False]
