"""Settings: environment over file over a command's own, every fault at once, secrets never shown."""

from pathlib import Path
from typing import Any

import pytest

from issuer.settings import Settings, SettingsError, load_settings

URL = "https://issuer.example.com"
DATABASE = "postgresql://issuer:canary-password@db/issuer"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415

    for name in list(os.environ):
        if name.upper().startswith("ISSUER_"):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "issuer.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(config: Path | None = None, **overrides: Any) -> list[str]:
    """Where each fault stands, in the message's order."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config, **overrides)
    return [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]


class TestPrecedence:
    def test_without_anything_there_are_defaults(self) -> None:
        settings = load_settings()
        assert (settings.url, settings.database_url, settings.master_key) == (None, None, None)
        assert settings.tokens.default_ttl_s == 600
        assert settings.tokens.max_ttl_s == 86_400
        assert settings.keys.jwks_max_age_s == 300
        assert (settings.schedule.day_s, settings.schedule.hour_s) == (86_400, 3_600)
        assert settings.admin_plaintext is False

    def test_the_environment_wins_over_the_file_and_the_file_over_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = written(tmp_path, f"url: {URL}/file\ndefault_audience: file\n")
        own: dict[str, Any] = {"url": f"{URL}/own", "default_audience": "own", "admin_plaintext": True}
        assert load_settings(**own).url == f"{URL}/own"
        settings = load_settings(config, **own)
        assert (settings.url, settings.default_audience, settings.admin_plaintext) == (f"{URL}/file", "file", True)
        monkeypatch.setenv("ISSUER_URL", f"{URL}/env")
        settings = load_settings(config, **own)
        assert (settings.url, settings.default_audience) == (f"{URL}/env", "file")

    def test_one_dotted_name_of_a_group_may_come_from_the_environment_and_its_sibling_from_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = written(tmp_path, "tokens:\n  default_ttl_s: 120\n  max_ttl_s: 240\n")
        monkeypatch.setenv("ISSUER_TOKENS__MAX_TTL_S", "480")
        tokens = load_settings(config).tokens
        assert (tokens.default_ttl_s, tokens.max_ttl_s) == (120, 480)

    def test_an_empty_variable_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ISSUER_URL", "")
        assert load_settings(written(tmp_path, f"url: {URL}")).url == URL

    def test_settings_are_frozen(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_settings().url = URL  # type: ignore[misc]


URLS_ACCEPTED = [
    URL,
    f"{URL}:8443",
    f"{URL}/a/b",
    "https://[2001:db8::1]:8443",
    "http://localhost:8080",
    "http://127.0.0.1:8080",
    "http://[::1]:8080",
]
URLS_REFUSED = {
    "": "absolute",
    "issuer.example.com": "absolute",
    "ftp://issuer.example.com": "absolute",
    "https://": "absolute",
    "http://issuer.example.com": "https",
    "http://127.0.0.1.example.com": "https",
    "http://localhost.example.com": "https",
    f"{URL}/": "slash",
    f"{URL}/a/": "slash",
    f"{URL}?": "query",
    f"{URL}?x=y": "query",
    f"{URL}#": "fragment",
    f"{URL}#x": "fragment",
    "https://user@issuer.example.com": "credentials",
    "https://user:pass@issuer.example.com": "credentials",
    "https://[::1": "",
}


@pytest.mark.parametrize("url", URLS_ACCEPTED)
def test_an_issuer_url_is_kept_byte_for_byte(url: str) -> None:
    assert load_settings(url=url).url == url


@pytest.mark.parametrize(("url", "why"), URLS_REFUSED.items(), ids=[url or "empty" for url in URLS_REFUSED])
def test_an_issuer_url_is_refused(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"url: .*{why}"):
        load_settings(url=url)


def test_every_fault_is_named_at_once_whatever_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(
        tmp_path, "url: http://x.example\ntokens: {default_ttl_s: 1, ttl: 5}\nlog: {level: loud}\ncolour: red\n"
    )
    monkeypatch.setenv("ISSUER_KEYS__JWKS_MAX_AGE_S", "soon")
    monkeypatch.setenv("ISSUER_DATABASE__POOL_SIZE", "0")
    monkeypatch.setenv("ISSUER_DATABASE_URL", "mysql://x")
    assert sorted(faults(config)) == [
        "colour",
        "database.pool_size",
        "database_url",
        "keys.jwks_max_age_s",
        "log.level",
        "tokens.default_ttl_s",
        "tokens.ttl",
        "url",
    ]


WANTED_TOGETHER: dict[str, dict[str, Any]] = {
    "audit.spool_dir": {"audit": {"on_outage": "spool"}},
    "public_key_file": {"public_certificate_file": "chain.pem"},
    "admin_key_file": {"admin_key_file": "key.pem"},
}


@pytest.mark.parametrize(("name", "given"), WANTED_TOGETHER.items(), ids=list(WANTED_TOGETHER))
def test_what_is_missing_beside_another_setting_has_a_name_too(name: str, given: dict[str, Any]) -> None:
    assert faults(**given) == [name]


def test_and_is_named_beside_every_other_fault() -> None:
    together: dict[str, Any] = {key: value for given in WANTED_TOGETHER.values() for key, value in given.items()}
    assert sorted(faults(colour="red", **together)) == sorted([*WANTED_TOGETHER, "colour"])


def test_the_message_says_where_the_settings_were_read(tmp_path: Path) -> None:
    config = written(tmp_path, "colour: red")
    with pytest.raises(SettingsError, match=str(config)):
        load_settings(config)


def test_an_unknown_name_of_a_group_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISSUER_KEYS__SKEW", "3")
    assert faults() == ["keys.skew"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("url: [", "cannot be read"),
        ("url: x\nurl: y", "stands twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("- url", "one YAML mapping"),
        ("just text", "one YAML mapping"),
        ("url: x\n---\nurl: y", "one YAML mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load_settings(written(tmp_path, text))


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "# nothing\n")) == load_settings()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.yaml cannot be read"):
        load_settings(tmp_path / "gone.yaml")


def test_no_secret_stands_in_repr_str_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(url=URL, database_url=DATABASE, master_key="k1:canary-key")
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == DATABASE
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "canary" not in shown
    monkeypatch.setenv("ISSUER_DATABASE_URL", "mysql://issuer:canary-password@db")
    with pytest.raises(SettingsError) as caught:
        load_settings(url="http://canary-user:canary-password@x", master_key="k1:canary-key")
    assert "canary" not in str(caught.value)


def test_every_setting_says_what_it_is_for() -> None:
    def undocumented(model: Any, path: str = "") -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            group = field.annotation
            if hasattr(group, "model_fields"):
                found += undocumented(group, f"{path}{name}.")
            elif not field.description:
                found.append(path + name)
        return found

    assert undocumented(Settings) == []
