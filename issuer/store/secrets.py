"""Secret versions of one account. Read and written while its row in `resources` is locked; the lifecycle is `credentials`'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.credentials import SecretVersion, Versions
from issuer.store.tables import peppers, secret_versions

_INSTANTS = (
    "created_at",
    "handed_out_at",
    "activated_at",
    "acknowledged_at",
    "retires_at",
    "cut_at",
    "hold_until",
    "grace_s",
    "overdue_at",
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What is stored of a fresh secret: its HMAC, and the plaintext sealed unless it was acknowledged at once."""

    pepper_id: str
    hmac: bytes = field(repr=False)
    sealed: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The versions of one account before and after a step; `new`: what is stored of those that are new."""

    account_uid: UUID
    before: Versions
    after: Versions
    new: Mapping[int, NewSecret]


async def load_versions(connection: AsyncConnection, account_uid: UUID) -> Versions:
    """All known versions, oldest first."""
    return (await load_versions_of(connection, [account_uid]))[account_uid]


async def load_versions_of(connection: AsyncConnection, account_uids: Sequence[UUID]) -> Mapping[UUID, Versions]:
    """The same of many accounts, by one query."""
    query = (
        sa.select(secret_versions)
        .where(secret_versions.c.account_uid == sa.any_(sa.bindparam("uids", type_=sa.ARRAY(sa.UUID(as_uuid=True)))))
        .order_by(secret_versions.c.account_uid, secret_versions.c.version)
    )
    found: dict[UUID, list[SecretVersion]] = {uid: [] for uid in account_uids}
    for row in await connection.execute(query, {"uids": list(account_uids)}):
        found[row.account_uid].append(version_of(row))
    return {uid: tuple(versions) for uid, versions in found.items()}


async def load_sealed(connection: AsyncConnection, account_uid: UUID, version: int) -> bytes | None:
    """The sealed plaintext, None once it is not kept any more."""
    query = sa.select(secret_versions.c.sealed).where(
        secret_versions.c.account_uid == account_uid, secret_versions.c.version == version
    )
    return (await connection.execute(query)).scalar_one_or_none()


_UPDATE = (
    sa.update(secret_versions)
    .where(
        secret_versions.c.account_uid == sa.bindparam("of_account"), secret_versions.c.version == sa.bindparam("number")
    )
    .values(
        {
            **{name: sa.bindparam(f"new_{name}") for name in _INSTANTS},
            "sealed": sa.case((sa.bindparam("keep", type_=sa.Boolean), secret_versions.c.sealed), else_=None),
        }
    )
)
_DELETE = sa.delete(secret_versions).where(
    secret_versions.c.account_uid == sa.bindparam("of_account"), secret_versions.c.version == sa.bindparam("number")
)


async def save_versions(connection: AsyncConnection, *rewritten: Rewritten) -> None:
    """Writes what differs, in a statement each for new, changed and forgotten versions.

    A plaintext is dropped as soon as its version is acknowledged, cut, or not the newest.
    """
    inserted: list[dict[str, Any]] = []
    updated: list[dict[str, Any]] = []
    deleted: list[dict[str, Any]] = []
    for each in rewritten:
        known = {version.version: version for version in each.before}
        newest = each.after[-1].version
        for version in each.after:
            instants = {name: getattr(version, name) for name in _INSTANTS}
            keep_plaintext = version.readable and version.version == newest
            secret = each.new.get(version.version)
            if secret is not None:
                values = {
                    "pepper_id": secret.pepper_id,
                    "hmac": secret.hmac,
                    "sealed": secret.sealed if keep_plaintext else None,
                }
                inserted.append({"account_uid": each.account_uid, "version": version.version, **values, **instants})
            elif known[version.version] != version or (version.readable and not keep_plaintext):
                renamed = {f"new_{name}": value for name, value in instants.items()}
                place = {"of_account": each.account_uid, "number": version.version}
                updated.append({**place, **renamed, "keep": keep_plaintext})
        forgotten = known.keys() - {version.version for version in each.after}
        deleted += [{"of_account": each.account_uid, "number": number} for number in forgotten]
    statements = ((sa.insert(secret_versions), inserted), (_UPDATE, updated), (_DELETE, deleted))
    for statement, rows in statements:
        if rows:
            await connection.execute(statement, rows)


async def insert_pepper(connection: AsyncConnection, pepper_id: str, created_at: Any, sealed: bytes) -> None:
    """A new pepper; the newest by time hashes new secrets."""
    await connection.execute(sa.insert(peppers).values(id=pepper_id, created_at=created_at, sealed=sealed))


async def load_peppers(connection: AsyncConnection) -> list[tuple[str, bytes]]:
    """Id and sealed value of every pepper, newest first."""
    query = sa.select(peppers.c.id, peppers.c.sealed).order_by(peppers.c.created_at.desc(), peppers.c.id)
    return [(row.id, row.sealed) for row in await connection.execute(query)]


def version_of(row: Row[Any], prefix: str = "") -> SecretVersion:
    """The value of a row of `secret_versions`, whose columns may be labelled with a prefix."""
    return SecretVersion(getattr(row, f"{prefix}version"), **{name: getattr(row, prefix + name) for name in _INSTANTS})
