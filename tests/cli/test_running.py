"""What holds for both programs: how fast they start, how they end, what their help says."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import YZ, environment
from yzdht.cli import main as yz, node as yz_node
from yzdht.cli.manual import LOCAL
from yzdht.cli.running import run
from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import InProcess


HEAVY = ("asyncio", "uvloop", "websockets", "cryptography", "msgspec", "sqlite3", "rich", "platformdirs")


@pytest.mark.parametrize("module", ["main", "node"])
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_load_nothing_heavy(module: str, option: str, tmp_path: Path) -> None:
    program = (
        f"import sys; from yzdht.cli.{module} import main; main([{option!r}]);"
        f" print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment(tmp_path)
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("main", "name"), [(yz.main, "yz"), (yz_node.main, "yz-node")])
def test_the_version_is_that_of_the_package(
    in_process: InProcess, main: Callable[[list[str]], int], name: str
) -> None:
    assert in_process(main, "--version") == (0, f"{name} {version('yzdht')}\n", "")


@pytest.mark.parametrize(("main", "codes"), [(yz.main, tuple(ExitCode)), (yz_node.main, LOCAL)])
def test_the_help_lists_the_exit_codes(
    in_process: InProcess, main: Callable[[list[str]], int], codes: tuple[ExitCode, ...]
) -> None:
    said = in_process(main, "--help")

    assert (said.code, said.stderr) == (0, "")
    listed = said.stdout.partition("Exit codes:\n")[2].splitlines()
    assert [int(line.split()[0]) for line in listed] == list(codes)


COMMANDS = [
    "put", "get", "rm", "pub", "sub", "chat", "topic", "topic policy", "ping", "status", "peers", "doctor", "backup", "testnet", "completion",
    "id", "id show", "id new", "id export", "id import", "id passphrase", "id add", "id list", "id remove",
    "id revocation", "id revoke", "id move",
    "group", "group create", "group list", "group members", "group add", "group open", "group remove",
    "group promote", "group rotate", "group leave",
    "invite", "invite network", "invite group", "invite list", "invite revoke", "invite serve", "join",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(in_process: InProcess, command: str) -> None:
    said = in_process(yz.main, *command.split(), "--help")

    assert said.code == 0
    assert f"Usage: yz {command}" in said.stdout
    examples, _, codes = said.stdout.partition("Examples:\n")[2].partition("Exit codes:\n")
    assert f"yz {command}" in examples
    assert re.fullmatch(r"(?: +[0-9]+  \S.*\n)+", codes)


def test_no_command_is_left_out_here(in_process: InProcess) -> None:
    listed = in_process(yz.main, "--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]

    assert {line.split()[0] for line in listed.splitlines()} == {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize("words", [[], ["id"]])
def test_a_command_line_without_a_command_shows_the_help(in_process: InProcess, words: list[str]) -> None:
    said = in_process(yz.main, *words)

    assert (said.code, said.stdout) == (2, "")
    assert "Commands:" in said.stderr


def test_errors_of_the_command_line_are_objects_for_programs(in_process: InProcess) -> None:
    said = in_process(yz.main, "put", "--json")

    assert said == (
        2, "", '{"error": "missing argument \'NAME\'", "hint": "try: yz put --help", "exitCode": 2}\n',
    )  # fmt: skip


def test_an_error_of_the_command_line_stays_on_its_line(in_process: InProcess) -> None:
    said = in_process(yz.main, "completion")

    assert said.stderr == (
        "yz: error: missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish\n"
        "yz: hint: try: yz completion --help\n"
    )


@pytest.mark.parametrize(
    ("word", "hint"), [("statu", "did you mean status?"), ("wheelbarrow", "try: yz --help")]
)
def test_of_a_command_that_there_is_not_the_nearest_is_named(
    in_process: InProcess, word: str, hint: str
) -> None:
    said = in_process(yz.main, word)

    assert said == (2, "", f"yz: error: no such command '{word}'\nyz: hint: {hint}\n")


def test_a_name_like_an_option_is_still_a_name(in_process: InProcess, tmp_path: Path) -> None:
    said = in_process(yz.main, "--home", str(tmp_path), "--network", "\0", "get", "--", "--json")

    assert said.stderr.startswith("yz: error: ")


def test_a_bug_is_called_one(in_process: InProcess, capsys: pytest.CaptureFixture[str]) -> None:
    in_process(lambda words: run(yz.cli, "yz", words), "--version")
    error = ZeroDivisionError("division by zero")

    sys.excepthook(ZeroDivisionError, error, None)

    assert capsys.readouterr().err == (
        "yz: error: internal error ZeroDivisionError: division by zero\n"
        "yz: hint: this is a bug; please report it with what --log-level debug shows\n"
    )


def test_a_bug_shows_its_traceback_when_debugging(
    in_process: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    in_process(lambda words: run(yz.cli, "yz", words), "--version")
    logging.getLogger("yzdht").setLevel(logging.DEBUG)

    try:
        1 / 0  # noqa: B018 - raises
    except ZeroDivisionError as error:
        sys.excepthook(ZeroDivisionError, error, error.__traceback__)

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    words = {"_YZ_COMPLETE": "bash_complete", "COMP_WORDS": "yz p", "COMP_CWORD": "1"}

    done = subprocess.run([YZ], check=True, capture_output=True, text=True, env=environment(tmp_path) | words)

    assert done.stdout.split() == ["plain,put", "plain,pub", "plain,ping", "plain,peers"]
