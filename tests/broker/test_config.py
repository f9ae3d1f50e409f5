"""broker.toml is read strictly, and every error names file, key, value and what is allowed."""

from pathlib import Path

import pytest

from afpools_broker.config import Config, ConfigError, load, parse_server

GOOD = """
[store]
uri = "sqlite:///pools.sqlite"
[farm]
server = "afserver"
"""


def read(tmp_path: Path, text: str, **environment: str) -> Config:
    file = tmp_path / "broker.toml"
    file.write_text(text)
    return load(file, environment)


def refusal(tmp_path: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text, **environment)
    return str(refused.value).replace(str(tmp_path), "DIR")


def test_a_short_file_gets_the_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.farm_address == ("afserver", 51000)
    assert (config.curve.port, config.tls.port, config.tls.address) == (5570, 5571, "127.0.0.1")
    assert config.path("certs") == tmp_path / "certs"
    assert config.path("/etc/afpools") == Path("/etc/afpools")


def test_without_afserver_the_studio_says_so_explicitly(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace('"afserver"', '""')).farm_address is None
    assert refusal(tmp_path, GOOD.replace('server = "afserver"', "")) == (
        "DIR/broker.toml: [farm] server is missing; it has no default."
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "[tls]\nprot = 1",
            "DIR/broker.toml: [tls] has no key 'prot'. It takes: enabled, address, port.",
        ),
        ("[tsl]\nport = 1", "DIR/broker.toml: there is no section or key 'tsl'. There are: [store], [farm]"),
        ("[tls]\nport = 70000", "DIR/broker.toml: [tls] port = 70000: expected `int` <= 65535."),
        ("[tls]\nport = '1'", "DIR/broker.toml: [tls] port = '1': expected `int`, got `str`."),
        (
            "[broker]\nlog_level = 'loud'",
            "DIR/broker.toml: [broker] log_level = 'loud': invalid enum value 'loud' "
            "(allowed: debug, info, warning, error).",
        ),
        ("[tls]\naddress = 'broker'", "DIR/broker.toml: [tls] address = 'broker': expected an IP address"),
        ("[curve]\nenabled = false\n[tls]\nenabled = false", "nobody could reach the broker"),
        ("[limits]\nidle_seconds = 0", "[limits] idle_seconds = 0: expected `float` > 0"),
        ("[tls", "cannot be read as TOML"),
    ],
)
def test_every_error_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, GOOD + line)


def test_a_key_before_the_first_section_is_refused(tmp_path: Path) -> None:
    assert "no section or key 'port'" in refusal(tmp_path, "port = 1\n" + GOOD)
    assert "write [tls] on a line of its own" in refusal(tmp_path, "tls = 1\n" + GOOD)


def test_folder_is_not_a_setting(tmp_path: Path) -> None:
    assert "no section or key 'folder'" in refusal(tmp_path, 'folder = "/tmp"\n' + GOOD)


@pytest.mark.parametrize("server", ["", ":51000", "a b", "host:0", "host:99999", "[::1", "host:port"])
def test_an_invalid_server_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match="HOST or HOST:PORT"):
        parse_server(server)


def test_servers() -> None:
    assert parse_server("farm") == ("farm", 51000)
    assert parse_server("farm:7") == ("farm", 7)
    assert parse_server("[::1]:7") == ("::1", 7)


def test_the_environment_overrides(tmp_path: Path) -> None:
    config = read(
        tmp_path, GOOD, AFPOOLS_TLS_PORT="0", AFPOOLS_CURVE_ENABLED="false", AFPOOLS_STORE_URI="mongodb://db/"
    )
    assert (config.tls.port, config.curve.enabled, config.store.uri) == (0, False, "mongodb://db/")


def test_the_environment_may_complete_the_file(tmp_path: Path) -> None:
    config = read(tmp_path, "", AFPOOLS_STORE_URI="sqlite:///x", AFPOOLS_FARM_SERVER="")
    assert config.farm_address is None


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD, AFPOOLS_TLS_PORT="x") == (
        "The variable AFPOOLS_TLS_PORT is 'x': expected `int`, got `str`."
    )
    assert "AFPOOLS_TLS_PORT is '70000': expected `int` <= 65535" in refusal(tmp_path, GOOD, AFPOOLS_TLS_PORT="70000")
    assert "broker.toml with AFPOOLS_TLS_ADDRESS: [tls] address = 'x'" in refusal(
        tmp_path, GOOD, AFPOOLS_TLS_ADDRESS="x"
    )
    assert "AFPOOLS_TLS_PROT is not a known variable" in refusal(tmp_path, GOOD, AFPOOLS_TLS_PROT="1")


def test_other_variables_of_ours_are_left_alone(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD, AFPOOLS_PROFILE="/x", AFPOOLS_CERTS="y", AFPOOLS_AFSERVER="z") == read(tmp_path, GOOD)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="afpools init"):
        load(tmp_path / "broker.toml", {})
