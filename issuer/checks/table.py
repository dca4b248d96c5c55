"""The table of checks, in the order in which a deployment is put together."""

from typing import Any

from issuer.checks import configuration, contents, keys, server
from issuer.checks.cases import Configured, Connected, Loaded, Reached, Stored
from issuer.checks.findings import Check

CHECKS: tuple[Check[Any], ...] = (
    Check("settings", Loaded, configuration.judge_settings),
    Check("environment", Loaded, configuration.judge_environment),
    Check("issuer url", Configured, configuration.judge_url),
    Check("master key", Configured, configuration.judge_master_key),
    Check("key files", Configured, configuration.judge_private_files),
    Check("folders", Configured, configuration.judge_folders),
    Check("certificates", Configured, configuration.judge_certificates),
    Check("admin port", Configured, configuration.judge_admin_port),
    Check("token lifetimes", Configured, configuration.judge_lifetimes),
    Check("schedule", Configured, configuration.judge_schedule),
    Check("log", Configured, configuration.judge_log),
    Check("traces", Configured, configuration.judge_traces),
    Check("database", Reached, server.judge_database),
    Check("encryption", Connected, server.judge_encryption),
    Check("durability", Connected, server.judge_durability),
    Check("standby", Connected, server.judge_standby),
    Check("connections", Connected, server.judge_connections),
    Check("timeouts", Connected, server.judge_timeouts),
    Check("clock", Connected, server.judge_clock),
    Check("encoding", Connected, server.judge_encoding),
    Check("privileges", Connected, server.judge_privileges),
    Check("schema", Connected, server.judge_schema),
    Check("bootstrap", Stored, contents.judge_bootstrap),
    Check("sealed data", Stored, contents.judge_sealed),
    Check("signing keys", Stored, keys.judge_keys),
    Check("key rotation", Stored, keys.judge_rotation),
    Check("key timing", Stored, keys.judge_timing),
    Check("deliveries", Stored, contents.judge_deliveries),
    Check("retention", Stored, contents.judge_retention),
    Check("policies", Stored, contents.judge_policies),
)
