"""Flag, environment, file, default, in this order; what nobody knows is refused; what is printed can be fed back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.cli.programs import YZ_NODE, environment
from tests.vectors.golden import KEY_A
from yzdht.cli.config_shown import as_object, as_toml
from yzdht.cli.config_sources import FILE_BYTES_MAX, Chosen, choose, wants_json
from yzdht.cli.node import cli, main, node_config
from yzdht.cli.node_settings import BY_NAME, FROM_STDIN, SETTINGS, Kind
from yzdht.cli.serving import HttpPlace
from yzdht.cli.settings import DEFAULT_NODE
from yzdht.cli.sizes import SIZE_MAX, parse_size, show_size
from yzdht.config import DEFAULT_HOST, DEFAULT_PORT
from yzdht.errors import ConfigError, ExitCode, UnsafeFile
from yzdht.http.server import DEFAULT_HOST as HTTP_HOST
from yzdht.limits import SESSIONS_MAX, SESSIONS_MAX_COMMUNITY
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import InProcess
    from yzdht.cli.config_sources import Configuration
    from yzdht.cli.node_settings import Setting, Value


ID = "ab" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    return path


def refusal(flags: dict[str, Value], environ: dict[str, str], file: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        choose(flags, environ, file)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value


def hint_of(work: Callable[[], object]) -> str | None:
    """What a refusal says to try; None where nothing was refused."""
    try:
        work()
    except ConfigError as error:
        return error.hint
    return None


def values(chosen: Configuration) -> dict[str, Value]:
    return {name: of.value for name, of in chosen.items()}


# The order, for anything that can be said


class Said(NamedTuple):
    """One value, as each source writes it, and what it means."""

    flag: Value
    variable: str
    written: str
    value: Value


def _quoted(text: str) -> str:
    """As another program would write TOML."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def _text(text: str) -> Said:
    return Said(text, text, _quoted(text), text)


def _number(number: int) -> Said:
    return Said(str(number), str(number), str(number), number)


def _size(size: int) -> Said:
    shown = show_size(size)
    return Said(str(size), shown, _quoted(shown), size)


def _switch(is_on: bool) -> Said:  # noqa: FBT001 - a strategy maps it
    return Said(is_on, "yes" if is_on else "OFF", "true" if is_on else "false", is_on)


def _path(text: str) -> Said:
    return Said(text, text, _quoted(text), text)


def _list(texts: list[str]) -> Said:
    return Said(tuple(texts), " ".join(texts), f"[{', '.join(map(_quoted, texts))}]", tuple(texts))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16)
URLS = st.sampled_from(["ws://192.0.2.1:8083", "wss://node1.example/ws", "ws://[2001:db8::1]:1"])
CIDRS = st.sampled_from(["203.0.113.0/24", "2001:db8::/48", "10.0.0.1"])
PATHS = st.sampled_from(["/srv/a", '/srv/"b\\', "/srv/\u00e9\u200b\U0001f642\x07", "/srv/c d#e"])


def _some(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[Said]:
    return st.lists(strategy, min_size=1, max_size=3).map(_list)


SAYINGS: dict[str, st.SearchStrategy[Said]] = {
    "port": st.integers(0, 65_535).map(_number),
    "host": st.sampled_from(["127.0.0.1", "::", "node.example"]).map(_text),
    "bootstrap": _some(URLS | URLS.map(lambda url: f"{url}#{ID}")),
    "data": PATHS.map(_path),
    "network": NAMES.map(_text),
    "network-key": PATHS.map(_path),
    "type": st.sampled_from(["community", "infrastructure"]).map(_text),
    "max-sessions": st.integers(1, 1_000_000).map(_number),
    "max-storage": st.integers(1, SIZE_MAX).map(_size),
    "max-bandwidth": st.integers(1, SIZE_MAX).map(_size),
    "allow-private": st.booleans().map(_switch),
    "public-address": _some(URLS),
    "no-port-mapping": st.booleans().map(_switch),
    "lan": st.booleans().map(_switch),
    "trusted-prefix": _some(CIDRS),
    "trusted-proxy": _some(CIDRS),
    "invite-only": st.sampled_from(["self", encode_public_key(KEY_A.public_key)]).map(_text),
    "join": st.just(FROM_STDIN).map(_text),  # a link is a secret, and not printed
    "tls-cert": PATHS.map(_path),
    "tls-key": PATHS.map(_path),
    "ca": PATHS.map(_path),
    "http-port": st.integers(0, 65_535).map(_number),
    "no-http": st.booleans().map(_switch),
    "passphrase-fd": st.integers(0, 1_000_000).map(_number),
    "log-level": st.sampled_from(["debug", "info", "warning", "error"]).map(_text),
    "log-format": st.sampled_from(["text", "json"]).map(_text),
}
SOURCES = ("flag", "variable", "file")


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, dict[str, Said]]:
    """By source, what it says of some of the settings."""
    said: dict[str, dict[str, Said]] = {source: {} for source in SOURCES}
    for name in draw(st.lists(st.sampled_from(sorted(SAYINGS)), unique=True, max_size=8)):
        for source in draw(st.sets(st.sampled_from(SOURCES), min_size=1)):
            said[source][name] = draw(SAYINGS[name])
    return said


def chosen_of(said: dict[str, dict[str, Said]], file: Path) -> Configuration:
    write(file, "".join(f"{name} = {one.written}\n" for name, one in said["file"].items()))
    flags = {name: one.flag for name, one in said["flag"].items()}
    environ = {BY_NAME[name].variable: one.variable for name, one in said["variable"].items()}
    return choose(flags, {"HOME": "/srv", **environ}, file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def test_every_setting_is_tried() -> None:
    assert list(SAYINGS) == [setting.name for setting in SETTINGS]


@given(said=mixtures())
@settings(deadline=None)
def test_flag_wins_over_environment_over_file_over_default(
    folder: Path, said: dict[str, dict[str, Said]]
) -> None:
    file = folder / "node.toml"

    chosen = chosen_of(said, file)

    for setting in SETTINGS:
        value, source, is_derived = chosen[setting.name]
        for kind, where in (("flag", setting.flag), ("variable", setting.variable), ("file", str(file))):
            if setting.name in said[kind]:
                assert (value, source, is_derived) == (said[kind][setting.name].value, where, False)
                break
        else:
            assert source.startswith("default")
            assert is_derived or value == setting.default


@given(said=mixtures())
@settings(deadline=None)
def test_what_is_printed_and_fed_back_is_the_same_node(
    folder: Path, said: dict[str, dict[str, Said]]
) -> None:
    chosen = chosen_of(said, folder / "node.toml")
    assume(chosen.number("port") == 0 or chosen.number("port") != chosen.number_or_none("http-port"))
    assume((chosen["tls-cert"].value is None) == (chosen["tls-key"].value is None))

    again = choose({}, {}, write(folder / "again.toml", as_toml(chosen)))

    assert values(again) == values(chosen)
    assert node_config(again) == node_config(chosen)
    assert as_object(again)["settings"] == as_object(chosen)["settings"]
    assert as_toml(choose({}, {}, write(folder / "third.toml", as_toml(again)))) == as_toml(again).replace(
        "again.toml", "third.toml"
    )


# Each source


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.name))
def test_an_example_can_be_written_into_a_file(setting: Setting, file: Path) -> None:
    chosen = choose({}, {}, write(file, f"{setting.name} = {setting.example}"))

    assert chosen[setting.name].source == str(file)


def test_every_setting_is_a_flag_and_every_flag_a_setting() -> None:
    flags = {option for parameter in cli.params for option in parameter.opts}

    assert {setting.flag for setting in SETTINGS} == flags - {
        "--config",
        "--print-config",
        "--json",
        "--version",
    }


@pytest.mark.parametrize(
    ("environ", "name", "chosen"),
    [
        ({"NODE_TYPE": "Infrastructure"}, "type", Chosen("infrastructure", "NODE_TYPE")),
        ({"WEBSOCKET_HOST": "::1"}, "host", Chosen("::1", "WEBSOCKET_HOST")),
        ({"WEBSOCKET_PORT": "7"}, "port", Chosen(7, "WEBSOCKET_PORT")),
        ({"WEBSOCKET_PORT": "7", "YZ_NODE_PORT": "8"}, "port", Chosen(8, "YZ_NODE_PORT")),
        ({"WEBSOCKET_PORT": "", "YZ_NODE_PORT": ""}, "port", Chosen(8083, "default")),
        (
            {"PUBLIC_ADDRESS_WS": "ws://a", "PUBLIC_ADDRESS_WSS": "wss://b  wss://c"},
            "public-address",
            Chosen(("wss://b", "wss://c", "ws://a"), "PUBLIC_ADDRESS_WSS, PUBLIC_ADDRESS_WS"),
        ),
        (
            {"PUBLIC_ADDRESS_WS": "ws://a", "YZ_NODE_PUBLIC_ADDRESS": "ws://b"},
            "public-address",
            Chosen(("ws://b",), "YZ_NODE_PUBLIC_ADDRESS"),
        ),
        (
            {"YZ_NODE_BOOTSTRAP": "ws://a\nws://b\n"},
            "bootstrap",
            Chosen(("ws://a", "ws://b"), "YZ_NODE_BOOTSTRAP"),
        ),
    ],
)
def test_names_that_others_use_stand_below_our_own(
    environ: dict[str, str], name: str, chosen: Chosen
) -> None:
    assert choose({}, environ)[name] == chosen


def test_the_file_may_be_named_in_the_environment_and_a_flag_names_another(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "port = 1"), write(tmp_path / "two", "port = 2")

    assert choose({}, {"YZ_NODE_CONFIG": str(one)}).number("port") == 1
    assert choose({}, {"YZ_NODE_CONFIG": str(one)}, two).number("port") == 2


def test_a_path_in_a_file_begins_at_its_folder_and_a_typed_one_where_one_stands(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    chosen = choose({"network-key": "a key"}, {}, write(file, 'data = "data"\nnetwork-key = "other"'))

    assert chosen.text("data") == str(file.parent / "data")
    assert chosen.text("network-key") == "a key"
    assert 'network-key = "/a key"  # --network-key' in as_toml(chosen)


def test_what_follows_from_other_settings_follows() -> None:
    assert choose({}, {}).number("max-sessions") == SESSIONS_MAX_COMMUNITY
    chosen = choose({"type": "infrastructure", "port": "0"}, {})

    assert chosen["max-sessions"] == Chosen(SESSIONS_MAX, "default of infrastructure nodes", is_derived=True)
    assert chosen.text("data").endswith("/node-auto")
    assert tomllib.loads(as_toml(chosen)).keys().isdisjoint({"max-sessions", "data"})


@pytest.mark.parametrize(("word", "is_wanted"), [("1", True), ("No", False), ("", False), ("maybe", False)])
def test_the_environment_may_ask_for_objects(word: str, *, is_wanted: bool) -> None:
    assert wants_json({"YZ_NODE_JSON": word}) is is_wanted


# Refusals


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("max-sesions = 1", "the key 'max-sesions' is unknown", "did you mean max-sessions?"),
        ("max_storage = 1", "the key 'max_storage' is unknown", "did you mean max-storage?"),
        ("[node]\nport = 1", "the key 'node' is unknown", "yz-node --help"),
        ("print-config = true", "'print-config' is unknown", "yz-node --help"),
        ('passphrase = "open sesame"', "the key 'passphrase' is unknown", "use --passphrase-fd N"),
        ('port = "8083"', "port has to be a number", "write: port = 8083"),
        ("port = true", "port has to be a number", "write: port = 8083"),
        ("port = 8083.0", "port has to be a number", "write: port = 8083"),
        ("port = -1", "port: '-1' is no number from 0 to 65535", "whole number"),
        ("port = 1979-05-27", "port has to be a number", "write: port = 8083"),
        ("port = {a = 1}", "port has to be a number", "write: port = 8083"),
        ('bootstrap = "ws://a"', "bootstrap has to be a list of texts", 'write: bootstrap = ["ws://'),
        ('bootstrap = ["ws://a", 1]', "bootstrap has to be a list of texts", 'write: bootstrap = ["ws://'),
        ('bootstrap = ["http://a"]', "bootstrap: the address 'http://a' starts with none of", "ws://"),
        (
            'public-address = ["ws://0.0.0.0:1"]',
            "public-address: nobody can dial ws://0.0.0.0:1",
            "advertise",
        ),
        ('no-http = "false"', "no-http has to be true or false", "write: no-http = true"),
        ("no-http = 0", "no-http has to be true or false", "write: no-http = true"),
        ('max-storage = "lots"', "max-storage: 'lots' is no size", "512MiB"),
        ("max-storage = 0", "max-storage: the size 0 is not between", "512MiB"),
        ('max-sessions = "many"', "max-sessions has to be a number", "write: max-sessions = "),
        (
            'type = "client"',
            "type: 'client' is none of community, infrastructure",
            "community or infrastructure",
        ),
        ('host = ""', "host: '' is no address to listen on", "or ::"),
        ('data = ""', "data: '' is no path", "--help"),
        ('data = "a\\u0000b"', "data: 'a\\x00b' is no path", "--help"),
        ('trusted-proxy = ["x"]', "trusted-proxy: the prefix 'x' is no block of addresses", "203.0.113.0/24"),
        ('network = ""', "network: a network name is 1 to 64 bytes", "--help"),
        (f'network-key = "{ID}"', "network-key: this is a key and not the path of its file", "mode 0600"),
        ("port 8083", "is not TOML: ", "--print-config"),
        ("port = 1\nport = 2", "is not TOML: ", "--print-config"),
        (f"port = {'9' * 5_000}", "is not TOML: ", "--print-config"),
        (b"\xff", "is not UTF-8", "--print-config"),
        (b"\xef\xbb\xbfport = 1", "is not TOML: ", "--print-config"),
        (f"port = {'[' * 5_000}", "is nested too deeply", "--print-config"),
        ("#" * (FILE_BYTES_MAX + 1), "is longer than 16,384 bytes", "check the path"),
        (".".join("q" * 2_000) + " = 1", "the key 'q' is unknown", "yz-node --help"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_a_hint(
    file: Path, text: str | bytes, error: str, hint: str
) -> None:
    refused = refusal({}, {}, write(file, text))

    assert str(file) in str(refused)
    assert error in str(refused)
    assert hint in refused.hint
    assert "sesame" not in f"{refused} {refused.hint}"
    assert ID not in f"{refused} {refused.hint}"


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o664])
def test_a_file_that_others_can_change_is_refused(file: Path, mode: int) -> None:
    write(file, "port = 1").chmod(mode)

    with pytest.raises(UnsafeFile, match="others can change it") as caught:
        choose({}, {}, file)

    assert caught.value.hint == f"run: chmod 600 {file}"
    file.chmod(0o644)
    assert choose({}, {}, file).number("port") == 1


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "is not a file"),
        (Path("a\0b"), "null"),
    ):
        assert reason in str(refusal({}, {}, path))


@pytest.mark.parametrize(
    ("environ", "error", "hint"),
    [
        ({"YZ_NODE_PROT": "1"}, "the environment variable 'YZ_NODE_PROT' is unknown", "did you mean YZ_NODE_PORT?"),
        ({"YZ_NODE_PASSPHRASE": "open sesame"}, "'YZ_NODE_PASSPHRASE' is unknown", "use --passphrase-fd N"),
        ({"YZ_NODE_PRINT_CONFIG": "1"}, "'YZ_NODE_PRINT_CONFIG' is unknown", "YZ_NODE_"),
        ({"YZ_NODE_port": "1"}, "'YZ_NODE_port' is unknown", "did you mean YZ_NODE_PORT?"),
        ({"YZ_NODE_PORT": "http"}, "YZ_NODE_PORT: 'http' is no number from 0 to 65535", "whole number"),
        ({"WEBSOCKET_PORT": "http"}, "WEBSOCKET_PORT: 'http' is no number", "whole number"),
        ({"NODE_TYPE": "king"}, "NODE_TYPE: 'king' is none of community, infrastructure", "or"),
        ({"YZ_NODE_NO_HTTP": "perhaps"}, "YZ_NODE_NO_HTTP: 'perhaps' is neither true nor false", "true or false"),
        ({"YZ_NODE_JSON": "perhaps"}, "YZ_NODE_JSON: 'perhaps' is neither true nor false", "true or false"),
        ({"PUBLIC_ADDRESS_WSS": "ws://a"}, "PUBLIC_ADDRESS_WSS: 'ws://a' does not start with wss://", "wss://HOST"),
        (
            {"PUBLIC_ADDRESS_TCP": "ws://a:1"},
            "PUBLIC_ADDRESS_TCP: 'ws://a:1' does not start with tcp://",
            "tcp://HOST:PORT",
        ),
        ({"PUBLIC_ADDRESS_WS": "wss://a"}, "PUBLIC_ADDRESS_WS: 'wss://a' does not start with ws://", "ws://HOST"),
        ({"YZ_NODE_BOOTSTRAP": "ws://a,ws://b"}, "YZ_NODE_BOOTSTRAP: the address of 'a,ws:'", "ws://"),
    ],
)  # fmt: skip
def test_an_environment_that_cannot_be_meant_is_refused_with_a_hint(
    environ: dict[str, str], error: str, hint: str
) -> None:
    refused = refusal({}, environ)

    assert error in str(refused)
    assert hint in refused.hint
    assert "sesame" not in f"{refused} {refused.hint}"


def test_a_value_is_refused_even_if_another_source_wins(file: Path) -> None:
    refusal({"port": "1"}, {"YZ_NODE_PORT": "http"})
    refusal({"port": "1"}, {}, write(file, 'port = "http"'))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
@settings(deadline=None)
def test_any_bytes_are_a_file_or_one_error_with_a_hint(folder: Path, raw: bytes) -> None:
    assert hint_of(lambda: choose({}, {}, write(folder / "any.toml", raw))) != ""


TOML_VALUES = st.recursive(
    st.integers(-(2**70), 2**70).map(str)
    | st.text(st.characters(codec="ascii"), max_size=20).map(_quoted)
    | st.sampled_from(["true", "nan", "-inf", "1e9", "07:32:00", "1979-05-27T07:32:00Z", '"ws://a"', "''"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda of: f"[{', '.join(of)}]")
        | inner.map(lambda of: f"{{ a = {of} }}")
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), TOML_VALUES, max_size=3))
@settings(deadline=None)
def test_any_value_of_any_key_is_taken_or_refused_with_a_hint(folder: Path, table: dict[str, str]) -> None:
    text = "\n".join(f"{name} = {value}" for name, value in table.items())
    assert hint_of(lambda: node_config(choose({}, {}, write(folder / "any.toml", text)))) != ""


@given(
    st.dictionaries(st.sampled_from(sorted(s.variable for s in SETTINGS)), st.text(max_size=30), max_size=3)
)
def test_any_text_in_a_variable_is_taken_or_refused_with_a_hint(environ: dict[str, str]) -> None:
    assert hint_of(lambda: node_config(choose({}, environ))) != ""


# As people and programs see it


def printed(in_process: InProcess, *words: str) -> str:
    said = in_process(main, "--print-config", *words)
    assert (said.code, said.stderr) == (0, "")
    return said.stdout


def test_people_see_where_each_value_comes_from(
    in_process: InProcess, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YZ_NODE_MAX_BANDWIDTH", "1MiB")
    write(file, 'type = "infrastructure"\nno-http = true')

    lines = printed(in_process, "--config", str(file), "--port", "7", "--http").splitlines()

    assert lines[0].startswith("# yz-node runs with this")
    assert len(lines) == 1 + len(SETTINGS)
    for line in (
        "port = 7  # --port",
        f'type = "infrastructure"  # {file}',
        "# max-sessions = 5000  # default of infrastructure nodes",
        'max-storage = "16GiB"  # default',
        'max-bandwidth = "1MiB"  # YZ_NODE_MAX_BANDWIDTH',
        "no-http = false  # --no-http",
        "# http-port: port + 1, or the next free one  # default",
    ):
        assert line in lines


def test_programs_see_the_same_as_an_object(in_process: InProcess) -> None:
    view: dict[str, Any] = json.loads(printed(in_process, "--json", "--type", "infrastructure"))

    assert list(view) == ["settings", "sources"]
    assert list(view["settings"]) == list(view["sources"]) == [setting.name for setting in SETTINGS]
    assert (view["settings"]["max-sessions"], view["settings"]["max-bandwidth"]) == (5_000, None)
    assert view["sources"]["type"] == "--type"


def test_a_file_name_cannot_write_lines(in_process: InProcess, tmp_path: Path) -> None:
    file = write(tmp_path / "a\nport = 1", "port = 7")

    text = printed(in_process, "--config", str(file))

    assert tomllib.loads(text)["port"] == 7
    assert len(text.splitlines()) == 1 + len(SETTINGS)


def test_no_secret_is_printed(in_process: InProcess, tmp_path: Path) -> None:
    key = write(tmp_path / "network.key", ID)
    read, written = os.pipe()
    os.write(written, b"open sesame\n")
    os.close(written)

    text = printed(in_process, "--network-key", str(key), "--passphrase-fd", str(read))

    os.close(read)
    assert f'network-key = "{key}"  # --network-key' in text
    assert ID not in text
    assert "sesame" not in text


def test_what_no_file_can_hold_is_said(in_process: InProcess) -> None:
    said = in_process(main, "--print-config", "--data", "/srv/\udcff")

    assert said.code == 2
    assert "is not UTF-8" in said.stderr


def test_what_cannot_work_together_is_not_printed(in_process: InProcess) -> None:
    said = in_process(main, "--print-config", *("--public-address", "ws://192.0.2.1:1") * 17)

    assert (said.code, said.stdout) == (2, "")
    assert "at most 16 addresses" in said.stderr


@pytest.mark.parametrize("option", ["--trusted-proxy", "--trusted-prefix"])
def test_what_a_start_warns_of_is_warned_of_where_it_is_printed(in_process: InProcess, option: str) -> None:
    said = in_process(main, "--print-config", option, "0.0.0.0/0")

    assert said.code == 0
    assert f'{option[2:]} = ["0.0.0.0/0"]' in said.stdout
    warning, hint = said.stderr.splitlines()
    assert warning.startswith(f"yz-node: warning: {option} 0.0.0.0/0: ")
    assert hint == "yz-node: hint: name only what is yours"
    assert in_process(main, "--print-config", option, "203.0.113.0/24").stderr == ""


def test_a_node_and_its_page_have_a_port_each(in_process: InProcess) -> None:
    same = ("--port", "7", "--http-port", "7")
    said = in_process(main, "--print-config", *same)

    assert (said.code, said.stdout) == (2, "")
    assert "the node and its status page cannot both have port 7" in said.stderr
    assert "--http-port" in said.stderr
    for words in ((*same, "--no-http"), ("--port", "0", "--http-port", "0")):
        assert in_process(main, "--print-config", *words).code == 0


def test_an_unknown_variable_is_an_object_for_programs(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YZ_NODE_JSON", "true")
    monkeypatch.setenv("YZ_NODE_PROT", "1")

    said = in_process(main)

    assert (said.code, said.stdout) == (2, "")
    assert json.loads(said.stderr) == {
        "error": "the environment variable 'YZ_NODE_PROT' is unknown",
        "hint": "did you mean YZ_NODE_PORT?",
        "exitCode": 2,
    }


@pytest.mark.process
def test_a_node_runs_as_file_and_environment_say(tmp_path: Path) -> None:
    write(
        tmp_path / "node.toml",
        'host = "127.0.0.1"\ndata = "mine"\nno-http = true\nmax-sessions = 3\nport = 1',
    )
    environ = environment(tmp_path) | {
        "YZ_NODE_CONFIG": str(tmp_path / "node.toml"), "NODE_TYPE": "infrastructure", "YZ_NODE_JSON": "1",
        "WEBSOCKET_PORT": "0", "PUBLIC_ADDRESS_WSS": "wss://node1.example/ws", "YZ_NODE_LOG_FORMAT": "json",
    }  # fmt: skip

    with subprocess.Popen(
        [YZ_NODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environ
    ) as node:
        assert node.stdout is not None
        ready = json.loads(node.stdout.readline())
        node.terminate()
        _, log = node.communicate(timeout=60)

    assert (ready["nodeType"], ready["http"]) == ("infrastructure", None)
    assert [address["url"] for address in ready["addresses"]] == ["wss://node1.example:443/ws"]
    assert ready["data"] == str(tmp_path / "mine")
    assert ready["port"] > 1
    assert {json.loads(line)["level"] for line in log.splitlines()} == {"info"}


def test_operators_read_of_every_variable_that_others_name() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()

    named = {name for setting in SETTINGS for name in setting.named}
    assert {name for name in named if not re.search(rf"`{name}`", text)} == set()


def test_what_commands_name_without_loading_the_library_is_what_it_uses() -> None:
    """`--help` must not load the cryptography, so these stand twice."""
    assert (BY_NAME["port"].default, BY_NAME["host"].default) == (DEFAULT_PORT, DEFAULT_HOST)
    assert f"ws://127.0.0.1:{DEFAULT_PORT}" == DEFAULT_NODE
    assert HttpPlace().host == HTTP_HOST


def test_sizes_of_the_table_are_sizes() -> None:
    for setting in SETTINGS:
        if setting.kind is Kind.SIZE:
            assert setting.default is None or parse_size(setting.usual) == setting.default
