"""What shells are given to complete `yz` and `yz-node`."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import YZ, YZ_NODE, Person, environment
from yzdht.cli import main as yz
from yzdht.cli.completion import PROGRAMS, SHELLS, script_of


if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import InProcess


pytestmark = pytest.mark.process

HERE = [shell for shell in SHELLS if shutil.which(shell)]
BEFORE = {"bash": "", "zsh": "autoload -Uz compinit && compinit -D\n", "fish": ""}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_for_both_programs_or_for_one(in_process: InProcess, shell: str) -> None:
    both = in_process(yz.main, "completion", shell)
    one = in_process(yz.main, "completion", shell, "--program", "yz-node")

    assert both.code == one.code == 0
    assert "_YZ_COMPLETE" in both.stdout
    assert "_YZ_NODE_COMPLETE" in both.stdout
    assert "_YZ_COMPLETE" not in one.stdout
    assert one.stdout in both.stdout


@pytest.mark.parametrize("shell", HERE)
def test_the_script_is_sourced_without_a_word(offline: Person, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(offline.yz("completion", shell).stdout)

    done = subprocess.run(
        [shell, "-c", f"{BEFORE[shell]}source {script}"],
        check=False, capture_output=True, text=True, env=environment(tmp_path),
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bash_is_here() -> None:
    assert "bash" in HERE  # otherwise the test above proves nothing


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        (YZ, "yz st", "plain,status"),
        (YZ, "yz su", "plain,sub"),
        (YZ, "yz sub --cursor ", "file,"),
        (YZ, "yz completion ", "plain,fish"),
        (YZ, "yz backup --re", "plain,--restore"),
        (YZ_NODE, "yz-node --boot", "plain,--bootstrap"),
        (YZ_NODE, "yz-node --type inf", "plain,infrastructure"),
        (YZ_NODE, "yz-node --log-level ", "plain,debug"),
        (YZ_NODE, "yz-node --log-format ", "plain,json"),
        (YZ_NODE, "yz-node --data ", "file,"),
    ],
)
def test_words_are_completed(program: str, words: str, expected: str, tmp_path: Path) -> None:
    variable = "_YZ_NODE_COMPLETE" if program == YZ_NODE else "_YZ_COMPLETE"
    asked = {variable: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    done = subprocess.run(
        [program], check=True, capture_output=True, text=True, env=environment(tmp_path) | asked
    )

    assert expected in done.stdout.splitlines()
    assert done.stderr == ""


def test_bash_completes_through_the_script(offline: Person, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(offline.yz("completion", "bash").stdout)
    asking = (
        f'source {script}; COMP_WORDS=(yz doc); COMP_CWORD=1; _yz_completion {YZ}; echo "${{COMPREPLY[@]}}"'
    )

    done = subprocess.run(
        ["bash", "-c", asking], check=True, capture_output=True, text=True, env=environment(tmp_path)
    )

    assert done.stdout == "doctor\n"


def test_without_bash_its_script_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = script_of("yz", "bash")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert script_of("yz", "bash") == script


def test_a_shell_that_is_not_known_is_a_mistake(in_process: InProcess) -> None:
    assert in_process(yz.main, "completion", "tcsh").code == 2
    assert PROGRAMS == ("yz", "yz-node")
