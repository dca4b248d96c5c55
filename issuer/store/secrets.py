"""Secret versions of one account. Read and written while its row in `resources` is locked; the lifecycle is `credentials`'."""

from collections.abc import Mapping
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
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What is stored of a fresh secret: its HMAC, and the plaintext sealed unless it was acknowledged at once."""

    pepper_id: str
    hmac: bytes = field(repr=False)
    sealed: bytes | None = field(repr=False)


async def load_versions(connection: AsyncConnection, account_uid: UUID) -> Versions:
    """All known versions, oldest first."""
    query = (
        sa.select(secret_versions)
        .where(secret_versions.c.account_uid == account_uid)
        .order_by(secret_versions.c.version)
    )
    return tuple(version_of(row) for row in await connection.execute(query))


async def load_sealed(connection: AsyncConnection, account_uid: UUID, version: int) -> bytes | None:
    """The sealed plaintext, None once it is not kept any more."""
    query = sa.select(secret_versions.c.sealed).where(
        secret_versions.c.account_uid == account_uid, secret_versions.c.version == version
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def save_versions(
    connection: AsyncConnection, account_uid: UUID, before: Versions, after: Versions, new: Mapping[int, NewSecret]
) -> None:
    """Writes what differs. A plaintext is dropped as soon as its version is acknowledged, cut, or not the newest."""
    known = {version.version: version for version in before}
    newest = after[-1].version
    for version in after:
        instants = {name: getattr(version, name) for name in _INSTANTS}
        keep_plaintext = version.readable and version.version == newest
        secret = new.get(version.version)
        if secret is not None:
            values = {
                "pepper_id": secret.pepper_id,
                "hmac": secret.hmac,
                "sealed": secret.sealed if keep_plaintext else None,
            }
            await connection.execute(
                sa.insert(secret_versions).values(
                    account_uid=account_uid, version=version.version, **values, **instants
                )
            )
        elif known[version.version] != version or (version.readable and not keep_plaintext):
            await connection.execute(
                sa.update(secret_versions)
                .where(secret_versions.c.account_uid == account_uid, secret_versions.c.version == version.version)
                .values(**instants, **({} if keep_plaintext else {"sealed": None}))
            )
    dropped = known.keys() - {version.version for version in after}
    if dropped:
        await connection.execute(
            sa.delete(secret_versions).where(
                secret_versions.c.account_uid == account_uid, secret_versions.c.version.in_(dropped)
            )
        )


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
