"""What is written about the product is true of it."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import issuer
from issuer.cli import app
from issuer.events import EVENT_TYPES
from issuer.observe.log import LEVELS
from issuer.settings import Settings
from tests.observe.exposed import exposed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_rows(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            rows += settings_rows(type(field.default), f"{prefix}{name}.")
        else:
            rows.append(f"| `{prefix}{name}` | {_default(field)} | {field.description} |")
    return rows


def _default(field: FieldInfo) -> str:
    if field.default is None:
        return "–"  # noqa: RUF001 - a dash, as in the table
    return f"`{str(field.default).lower()}`" if isinstance(field.default, bool) else f"`{field.default}`"


def test_the_settings_table_is_the_settings_class() -> None:
    table = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- /settings -->", README, re.DOTALL)
    assert table is not None
    assert table[1].splitlines()[2:] == settings_rows()


def metric_rows() -> list[str]:
    rows = []
    for metric in exposed():
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        said = ", ".join(sorted(labels)) or "–"  # noqa: RUF001 - a dash, as in the table
        rows.append(f"| `{name}` | {metric.type} | {said} | {metric.documentation} |")
    return rows


def test_the_metrics_table_is_what_metrics_are_exposed() -> None:
    table = re.search(r"<!-- metrics:.*?-->\n(.*?)<!-- /metrics -->", README, re.DOTALL)
    assert table is not None
    assert table[1].splitlines()[2:] == metric_rows()


def test_every_command_stands_in_the_readme() -> None:
    commands = [command.name for command in app.registered_commands]
    assert [name for name in commands if not re.search(rf"\bissuer {name}\b", README)] == []


def test_every_event_has_a_level() -> None:
    assert LEVELS.keys() == EVENT_TYPES


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_file_the_readme_links_to_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_module_stands_on_the_code_map() -> None:
    package = ROOT / "issuer"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert [name for name in sorted(modules - {"__init__", "__main__"}) if name not in (issuer.__doc__ or "")] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    nothing = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "base"}
    files = [*(ROOT / "issuer").rglob("*"), *(ROOT / "tests").rglob("*")]
    assert [path for path in files if path.stem in nothing] == []
