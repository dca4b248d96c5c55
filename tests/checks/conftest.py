"""Fixture: a PostgreSQL as durable as in production, with a standby."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from issuer.signing.sealing import generate_master_key_line
from tests.blackbox.clusters import BaseBackup, Cluster
from tests.checks.replication import Replicated, wait_for_state
from tests.databases import bootstrap, folder_in_memory


@pytest.fixture(scope="package")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    with folder_in_memory(tmp_path_factory) as folder, ExitStack() as stack:
        primary = stack.enter_context(closing(Cluster(folder / "primary")))
        primary._durable = True
        bootstrapped = asyncio.run(bootstrap(primary.start(), generate_master_key_line("k1")))
        standby = stack.enter_context(closing(BaseBackup(folder / "standby", primary, standby=True)))
        standby.start()
        wait_for_state(primary, "async")
        yield Replicated(primary, standby, bootstrapped)
