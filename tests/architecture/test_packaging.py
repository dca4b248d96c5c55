"""What a user gets besides the code: the example configuration, the image, the composition, the wheel, the Makefile."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from issuer.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "issuer.example.yaml"
PROXY = ROOT / "config" / "proxy"
REPLICAS = ("issuer-1", "issuer-2")
ONE_SHOTS = ("migrate", "bootstrap")


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name, with its default."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def lines_of_example() -> Iterator[tuple[str, bool]]:
    """Every setting the example names, in order, and whether it is commented out."""
    group = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"(?P<indent> *)(?P<comment># )?(?P<name>[a-z_]+):(?P<value> \S+)?", line)
        if not match:
            continue
        if not match["value"]:
            group = match["name"] + "."
            continue
        yield (group if match["indent"] else "") + match["name"], match["comment"] is not None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted names."""
    result = dict[str, Any]()
    for name, value in values.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return result


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return dict(compose["services"])


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions, continued lines joined, comments gone."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def final_stage(dockerfile: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = max(place for place, (instruction, _) in enumerate(dockerfile) if instruction == "FROM")
    return dockerfile[start:]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# --- the example configuration ---


def test_example_configuration_loads_and_means_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ISSUER_")]:
        monkeypatch.delenv(name)
    assert load_settings(EXAMPLE) == Settings()


def test_example_configuration_names_every_setting_exactly_once() -> None:
    assert sorted(name for name, _ in lines_of_example()) == sorted(name for name, _ in settings_of(Settings))


def test_example_configuration_gives_every_default_and_comments_out_what_has_none() -> None:
    written = flat(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
    defaults = dict(settings_of(Settings))
    assert written == {name: default for name, default in defaults.items() if default is not None}
    assert {name for name, commented in lines_of_example() if commented} == defaults.keys() - written.keys()


def test_example_configuration_explains_every_setting() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    settings = re.compile(r" *(# )?[a-z_]+:( \S+)?")
    for name, _ in lines_of_example():
        leaf = name.rpartition(".")[2]
        place = next(i for i, line in enumerate(lines) if re.fullmatch(rf" *(# )?{leaf}: \S.*", line))
        while settings.fullmatch(lines[place]):  # what follows a setting directly shares its explanation
            place -= 1
        assert lines[place].lstrip().startswith("# "), f"{name} has no explanation"


# --- the image ---


def test_image_runs_as_a_numeric_user_who_is_not_root(final_stage: list[tuple[str, str]]) -> None:
    user = [argument for instruction, argument in final_stage if instruction == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_image_serves_by_default_and_is_asked_for_its_life_without_curl(final_stage: list[tuple[str, str]]) -> None:
    instructions = dict(final_stage)
    assert instructions["ENTRYPOINT"] == '["issuer"]'
    assert instructions["CMD"] == '["serve"]'
    assert '"python"' in instructions["HEALTHCHECK"]
    assert "/livez" in instructions["HEALTHCHECK"]


def test_image_installs_nothing_in_its_final_stage(final_stage: list[tuple[str, str]]) -> None:
    assert not [argument for instruction, argument in final_stage if instruction == "RUN" and "pip" in argument.split()]
    assert not [argument for instruction, argument in final_stage if instruction == "ADD"]


def test_image_has_a_pinned_base_and_the_version_of_the_project(
    dockerfile: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    arguments = dict(argument.split("=", 1) for instruction, argument in dockerfile if instruction == "ARG")
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", arguments["BASE"])
    assert {argument.split()[0] for instruction, argument in dockerfile if instruction == "FROM"} == {"${BASE}"}
    assert arguments["VERSION"] == project["project"]["version"]


def test_image_is_built_from_named_files_only() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "issuer",
        "migrations",
    }


# --- the composition ---


def test_replicas_are_configured_identically_but_for_the_port_on_the_host(services: dict[str, Any]) -> None:
    first, second = ({**services[name], "ports": None} for name in REPLICAS)
    assert first == second
    assert services["issuer-1"]["ports"] != services["issuer-2"]["ports"]


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_proxy_alone_publishes_the_public_port_and_never_the_admin_port(services: dict[str, Any]) -> None:
    targets = {
        name: {port.rpartition(":")[2] for port in service.get("ports", [])} for name, service in services.items()
    }
    assert {name for name, ports in targets.items() if "8080" in ports} == {"proxy"}
    assert {name for name, ports in targets.items() if "8081" in ports} == set(REPLICAS)
    assert not [path for path in PROXY.iterdir() if "8081" in path.read_text(encoding="utf-8")]


def test_the_proxy_sends_to_every_replica(services: dict[str, Any]) -> None:
    upstreams = re.findall(r"^server (\S+):8080 ", (PROXY / "replicas.conf").read_text("utf-8"), re.MULTILINE)
    assert sorted(upstreams) == sorted(REPLICAS)
    assert set(services["proxy"]["depends_on"]) == set(REPLICAS)
    assert services["proxy"]["volumes"] == ["./config/proxy:/etc/nginx:ro"]


def test_the_proxy_does_not_pass_on_what_a_client_says_about_its_own_address() -> None:
    text = (PROXY / "nginx.conf").read_text(encoding="utf-8")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert "$proxy_add_x_forwarded_for" not in text


def test_replicas_trust_the_proxy_and_nobody_else(services: dict[str, Any]) -> None:
    address = services["proxy"]["networks"]["edge"]["ipv4_address"]
    for name in REPLICAS:
        assert services[name]["environment"]["ISSUER_TRUSTED_PROXIES"] == address


def test_the_log_of_the_proxy_has_no_query_strings() -> None:
    formats = re.search(r"log_format issuer (.*?);", (PROXY / "nginx.conf").read_text("utf-8"), re.DOTALL)
    assert formats
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+)\b", formats[1])


def test_replicas_start_after_database_migration_and_bootstrap(services: dict[str, Any]) -> None:
    conditions = {name: entry["condition"] for name, entry in services["issuer-1"]["depends_on"].items()}
    assert conditions == {"postgres": "service_healthy"} | dict.fromkeys(ONE_SHOTS, "service_completed_successfully")
    assert services["bootstrap"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_one_shots_are_not_restarted_and_all_else_is(services: dict[str, Any]) -> None:
    restarts = {name: service["restart"] for name, service in services.items()}
    assert {name for name, policy in restarts.items() if policy == "no"} == set(ONE_SHOTS)
    assert {policy for name, policy in restarts.items() if name not in ONE_SHOTS} == {"unless-stopped"}


def test_every_image_has_a_tag_that_does_not_move_by_itself(services: dict[str, Any], project: dict[str, Any]) -> None:
    for name, service in services.items():
        _, _, tag = service["image"].partition(":")
        assert re.match(r"\d", tag), f"{name}: {service['image']}"
    ours = {services[name]["image"] for name in (*ONE_SHOTS, *REPLICAS)}
    assert ours == {f"issuer:{project['project']['version']}"}


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name


def test_the_composition_sets_only_settings_that_exist(services: dict[str, Any]) -> None:
    known = {"ISSUER_" + name.replace(".", "__").upper() for name, _ in settings_of(Settings)}
    for name in (*ONE_SHOTS, *REPLICAS):
        assert services[name]["environment"].keys() <= known


def test_the_master_key_is_a_file_and_never_in_the_environment(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "ISSUER_MASTER_KEY" not in service.get("environment", {})
    assert services["issuer-1"]["environment"]["ISSUER_MASTER_KEY_FILE"] == "/run/secrets/master_key"


def test_the_volume_of_the_database_lies_where_its_image_keeps_data(services: dict[str, Any]) -> None:
    assert services["postgres"]["image"].startswith("postgres:18")
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]  # since 18; before: …/data


# --- the wheel ---


def test_wheel_carries_the_migrations_and_the_marker_of_types(project: dict[str, Any]) -> None:
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["issuer"]
    assert wheel["force-include"] == {"migrations": "issuer/migrations"}
    assert (ROOT / "migrations").is_dir()
    assert (ROOT / "issuer" / "py.typed").read_bytes() == b""


def test_wheel_names_no_file_that_does_not_exist(project: dict[str, Any]) -> None:
    assert (ROOT / project["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in project["project"]["license-files"])


# --- the Makefile ---


@pytest.mark.parametrize("target", ["run", "test", "lint", "bench", "bench-long"])
def test_make_has_the_targets_others_call(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert re.search(rf"^\.PHONY:.*\b{target}\b", makefile, re.MULTILINE)
