"""Accounts whose secrets rotate by themselves, and what their drivers and the database see of it."""

from datetime import datetime, timedelta
from typing import Any

from issuer.model.times import format_time, parse_time
from tests.delivery.driver import Driver, driver_of_new_account, fetch
from tests.world import World

CLUSTER_POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"
DAILY = {"enabled": True, "intervalDays": 1, "gracePeriodHours": 2}


async def rotating(world: World, name: str = "api", **spec: Any) -> Driver:
    """An account that rotates every day, its first secret delivered."""
    rotation = spec.pop("credentialRotation", DAILY)
    driver = await driver_of_new_account(world, name, credentialRotation=rotation, **spec)
    await driver.given(acknowledge=True)
    return driver


async def policy(world: World, name: str = "rotation", namespace: str | None = None, **rotation: Any) -> str:
    """Writes a policy on rotation; its path."""
    path = f"{CLUSTER_POLICIES}/{name}"
    if namespace is not None:
        path = f"/apis/auth.nauthera.io/v1alpha1/namespaces/{namespace}/authpolicies/{name}"
    collection = path.rpartition("/")[0]
    document = {"metadata": {"name": name}, "spec": {"credentialRotation": rotation}}
    answer = await world.admin.post(collection, json=document)
    assert answer.status_code == 201, answer.text
    return path


async def followed(world: World) -> None:
    """Accounts are brought to what policies say: what one call notices, the next one follows."""
    await world.issuer.follower.follow()
    await world.issuer.follower.follow()


async def due(driver: Driver) -> datetime | None:
    """When the account's status says the next secret is made."""
    instant = (await driver.status()).get("nextCredentialRotation")
    return parse_time(instant) if instant is not None else None


async def message(driver: Driver) -> str | None:
    """What CredentialsProvisioned says beside its reason."""
    (found,) = (each for each in (await driver.status())["conditions"] if each["type"] == "CredentialsProvisioned")
    said: str | None = found.get("message")
    return said


async def versions_by_account(world: World) -> dict[str, list[int]]:
    """Every account's versions."""
    rows = await fetch(world, "SELECT account_uid::text AS uid, version FROM secret_versions ORDER BY 1, 2")
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["uid"], []).append(row["version"])
    return found


def said(instant: datetime, **later: float) -> str:
    """The instant, or one after it, as a status says it."""
    return format_time(instant + timedelta(**later))
