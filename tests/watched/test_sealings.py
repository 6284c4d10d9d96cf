"""A nonce that serves twice under one key is noticed, in whatever process, and fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.test_conftest import run
from tests.watched.plugin import HERE
from tests.watched.sealings import FOLDER_VARIABLE, REMEMBERED_OF_A_CIPHER, Ledger, report_of


if TYPE_CHECKING:
    from pathlib import Path


ROOT = HERE.parent.parent
KEY, NONCE, IV = bytes(32), bytes(12), 0x5A5A
MANY = 10 * REMEMBERED_OF_A_CIPHER

REUSE = """
from yzdht.crypto.primitives import Aead
for plaintext in (b"one", b"other"):
    Aead(bytes(32)).seal(bytes(12), plaintext)
"""

INSTRUMENTED = f"""
import tests.fuzz.engine
{REUSE}
"""

FORKED_AND_KILLED = """
import os, signal
from yzdht.crypto.primitives import Aead
Aead(bytes(32)).seal(bytes(12), b"one")
if os.fork() == 0:
    Aead(bytes(32)).seal(bytes(12), b"other")
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"""

RUN_WITH_A_REUSE = f"""
import subprocess, sys
def test_starts_a_program(): subprocess.run([sys.executable, "-c", {REUSE!r}], check=True)
"""

RUN_WITH_CHOSEN_NONCES = f"""
import pytest, subprocess, sys
@pytest.mark.own_salts
def test_starts_a_program(): subprocess.run([sys.executable, "-c", {REUSE!r}], check=True)
"""


class Watched:
    """The library's cipher as one process has it whose sealings are watched."""

    def __init__(self, folder: Path, pairs_max: int = 1_000) -> None:
        primitives: Any = ModuleType("primitives")
        primitives.AESGCM = AESGCM
        self.folder = folder
        Ledger(folder, pairs_max).watch(primitives)
        self.cipher = primitives.AESGCM

    def faults(self) -> list[str]:
        return report_of(self.folder).faults


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def counted(number: int) -> bytes:
    return (IV ^ number).to_bytes(12)


def run_program(program: str, folder: Path) -> None:
    folders = os.pathsep.join(map(str, (HERE, ROOT)))
    watched = {"PYTHONPATH": folders, FOLDER_VARIABLE: str(folder)}
    subprocess.run([sys.executable, "-c", program], env=os.environ | watched, check=True)


def test_what_is_sealed_is_what_the_library_seals(watched: Watched) -> None:
    sealed = watched.cipher(KEY).encrypt(NONCE, b"plaintext", b"aad")

    assert sealed == AESGCM(KEY).encrypt(NONCE, b"plaintext", b"aad")
    assert watched.cipher(KEY).decrypt(NONCE, sealed, b"aad") == b"plaintext"


@pytest.mark.parametrize(
    ("plaintext", "aad"), [(b"other", b"aad"), (b"one", b"other"), (b"", b"aadone"), (b"neaad", b"o")]
)
def test_another_plaintext_or_aad_under_the_same_nonce_is_a_fault(
    watched: Watched, plaintext: bytes, aad: bytes
) -> None:
    watched.cipher(KEY).encrypt(NONCE, b"one", b"aad")
    watched.cipher(KEY).encrypt(NONCE, plaintext, aad)

    [fault] = watched.faults()
    assert "test_sealings.py" in fault


def test_the_same_again_and_another_key_or_nonce_are_none(watched: Watched) -> None:
    cipher = watched.cipher(KEY)
    cipher.encrypt(NONCE, b"one", b"aad")
    cipher.encrypt(NONCE, b"one", b"aad")
    watched.cipher(b"\1" * 32).encrypt(NONCE, b"other", b"aad")
    cipher.encrypt(b"\1" * 12, b"other", b"aad")

    assert watched.faults() == []
    assert report_of(watched.folder).sealed == 4


def test_a_counter_is_proven_by_counting(watched: Watched) -> None:
    cipher = watched.cipher(KEY)
    for number in range(MANY):
        cipher.encrypt(counted(number), b"%d" % number, b"")

    report = report_of(watched.folder)
    assert report.faults == []
    assert (report.sealed, report.counted_up) == (MANY, MANY - REMEMBERED_OF_A_CIPHER)


@pytest.mark.parametrize("again", [0, 1, REMEMBERED_OF_A_CIPHER, MANY - 2, MANY - 1])
def test_a_counter_that_goes_back_is_a_fault(watched: Watched, again: int) -> None:
    cipher = watched.cipher(KEY)
    for number in (*range(MANY), again):
        cipher.encrypt(counted(number), b"%d beside %d" % (number, number == again), b"")
    cipher.encrypt(counted(again), b"once more", b"")

    assert watched.faults()


def test_a_second_cipher_that_counts_from_the_same_iv_is_a_fault(watched: Watched) -> None:
    for name in (b"one", b"other"):
        cipher = watched.cipher(KEY)
        for number in range(MANY):
            cipher.encrypt(counted(number), name, b"")

    assert len(watched.faults()) == REMEMBERED_OF_A_CIPHER


def test_what_there_is_no_room_for_is_compared_and_counted(tmp_path: Path) -> None:
    watched = Watched(tmp_path, pairs_max=1)
    for name in (b"\0", b"\1", b"\2", b"\0"):
        watched.cipher(KEY).encrypt(name * 12, b"%d" % len(watched.faults()), name)
    watched.cipher(KEY).encrypt(NONCE, b"other", b"")

    assert report_of(tmp_path).forgotten == 2
    assert len(watched.faults()) == 1


@pytest.mark.process
def test_a_reuse_in_a_program_is_found(tmp_path: Path) -> None:
    run_program(REUSE, tmp_path)

    [fault] = report_of(tmp_path).faults
    assert "under one key for different things" in fault


@pytest.mark.process
def test_a_reuse_is_found_where_a_fuzzer_instruments_what_is_watched(tmp_path: Path) -> None:
    run_program(INSTRUMENTED, tmp_path)

    assert len(report_of(tmp_path).faults) == 1


@pytest.mark.process
def test_a_fork_remembers_what_its_parent_sealed_and_has_reported_when_it_is_killed(tmp_path: Path) -> None:
    run_program(FORKED_AND_KILLED, tmp_path)

    report = report_of(tmp_path)
    assert (report.processes, report.sealed, len(report.faults)) == (2, 2, 1)


@pytest.mark.process
def test_a_reuse_in_a_program_that_a_test_starts_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, RUN_WITH_A_REUSE)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "2 in 1 processes" in done.stdout
    assert "the run fails" in done.stdout


@pytest.mark.process
def test_nonces_that_a_test_chooses_itself_are_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, RUN_WITH_CHOSEN_NONCES)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "sealings watched" not in done.stdout
