"""Alerts and dashboard ask for what is there, every alert says what to do, and each fires when it should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from issuer.observe.metrics import OTHER
from tests.observe.exposed import exposed, names

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
CASES = ROOT / "tests" / "observe" / "alerts.test.yaml"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "issuer.json").read_text(encoding="utf-8"))
ALERTS = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
# Prometheus' own, and what prometheus_client reads of /proc.
ELSEWHERE = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


def queries(node: Any) -> Iterator[str]:
    """Every query of the dashboard: of its panels and of its variables."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in {"expr", "query"} and isinstance(value, str) and value != "prometheus":
                yield value
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


ASKED = [rule["expr"] for rule in ALERTS] + list(queries(DASHBOARD))


@pytest.mark.parametrize("expression", ASKED)
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    asked = set(re.findall(r"\b(?:issuer|process)_[a-z_]+\b|\bup\b", expression))
    assert asked
    assert asked - ELSEWHERE <= names(exposed())


@pytest.mark.parametrize("expression", ASKED)
def test_every_label_value_that_is_asked_for_exists(expression: str) -> None:
    """`failure="wrong_secret"` would match nothing, for ever, and look like peace."""
    known: dict[str, set[str]] = {}
    for metric in exposed():
        for sample in metric.samples:
            for label, value in sample.labels.items():
                known.setdefault(label, set()).add(value)
    for label, pattern in re.findall(r"(\w+)=~?\"([^\"$]*)\"", expression):
        if label != "job":
            for value in pattern.split("|"):
                assert any(re.fullmatch(value, each) for each in known[label]), (label, value)
                assert value != OTHER


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == "README.md#when-an-alert-fires"
    assert len(re.findall(rf"^\| {alert['alert']} \|", README, re.MULTILINE)) == 1


def test_the_runbook_has_a_line_for_each_alert_in_their_order_and_no_other() -> None:
    section = README.partition("### When an alert fires\n")[2].partition("\n### ")[0]
    assert re.findall(r"^\| (Issuer\w+) \|", section, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_every_alert_is_shown_firing_and_not_firing() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text("utf-8"))["tests"] for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
    quiet = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert firing == quiet == {alert["alert"] for alert in ALERTS}


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(PROMETHEUS / "alerts.yaml")),
        ("check", "config", str(PROMETHEUS / "prometheus.example.yaml")),
        ("test", "rules", str(CASES)),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$instance", ".*").replace("$job", ".*")}
        for number, query in enumerate(queries(DASHBOARD))
        if not query.startswith("label_values(")  # Grafana's own
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 20
