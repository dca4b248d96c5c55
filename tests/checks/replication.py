"""A durable primary with a bootstrapped database, and a standby that streams from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.blackbox.clusters import BaseBackup, Cluster
from tests.blackbox.processes import eventually
from tests.databases import Bootstrapped


@dataclass(frozen=True)
class Replicated:
    """Two clusters of one database, and what that was bootstrapped with."""

    primary: Cluster
    standby: BaseBackup
    bootstrapped: Bootstrapped


@contextmanager
def demanded(primary: Cluster) -> Iterator[None]:
    """Commits wait for the standby."""
    try:
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        wait_for_state(primary, "sync")
        yield
    finally:
        primary.ask("ALTER SYSTEM RESET synchronous_standby_names")
        wait_for_state(primary, "async")


def wait_for_state(primary: Cluster, sync_state: str) -> None:
    """The standby streams, and counts or does not."""
    primary.ask("SELECT pg_reload_conf()")
    streaming = "SELECT FROM pg_stat_replication WHERE state = 'streaming'"
    eventually(lambda: primary.ask(f"{streaming} AND sync_state = '{sync_state}'"))
