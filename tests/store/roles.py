"""Users of the database who may do no more than a test says."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url

from tests.store.rows import query


@asynccontextmanager
async def role(url: str, *grants: str) -> AsyncIterator[str]:
    """The URL for a user who may do nothing in the database but what it is granted."""
    name, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(8)
    await query(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        for grant in grants:
            await query(url, f"GRANT {grant} TO {name}")
        yield make_url(url).set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        await query(url, f"DROP OWNED BY {name}")
        await query(url, f"DROP ROLE {name}")
