"""put, get and rm, as people and programs use them."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person, Ran, Terminal
from yzdht.cli.main import main


if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import InProcess
    from tests.cli.programs import NodeProcess


LIMIT = 61_436


# put


def test_a_value_from_stdin_comes_back_byte_for_byte(person: Person) -> None:
    value = bytes(range(256)) + b"\r\n\x00"

    put = person.yz("put", "name", stdin=value)

    assert (put.code, put.stdout) == (0, b"")
    assert "a new identity was made" in put.stderr
    assert "stored by 1 of 1 node, seq " in put.stderr
    assert "link yz:" in put.stderr
    got = person.yz("get", "name")
    assert (got.code, got.stdout, got.stderr) == (0, value, "")


def test_a_put_for_programs_is_a_receipt(person: Person, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    before = int(time.time())  # noqa: TID251 - the wall clock is what is compared

    put = person.yz("--json", "put", "name", "file", "--ttl", "12h", "--public")

    assert (put.code, put.stderr) == (0, "")
    assert list(put.object) == [
        "name", "seq", "publisher", "expires", "link", "accepted", "asked", "needed", "public",
    ]  # fmt: skip
    receipt = put.object
    assert (receipt["name"], receipt["public"]) == ("name", True)
    assert [receipt[field] for field in ("accepted", "asked", "needed")] == [1, 1, 1]
    assert before <= receipt["expires"] - 12 * 3_600 <= int(time.time())  # noqa: TID251 - as above
    assert receipt["publisher"] == person.yz("id", "show", "--json").object["publicKey"]
    assert person.yz("get", receipt["link"]).stdout == b"from a file"


def test_a_value_of_the_greatest_length_is_stored_and_one_byte_more_is_not(person: Person) -> None:
    assert person.yz("put", "name", "-", stdin=b"x" * LIMIT).code == 0
    assert len(person.yz("get", "name").stdout) == LIMIT

    refused = person.yz("put", "name", "-", stdin=b"x" * (LIMIT + 1))

    assert refused.code == 2
    assert refused.stderr.startswith("yz: error: the value is longer than 61,436 bytes\nyz: hint: ")


def test_an_endless_value_is_refused_without_reading_on(offline: Person) -> None:
    refused = offline.yz("--json", "put", "name", "/dev/zero")

    assert (refused.code, refused.stdout, refused.error["exitCode"]) == (2, b"", 2)
    assert "61,436" in refused.error["error"]


@pytest.mark.parametrize("file", ["nowhere", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(offline: Person, file: str) -> None:
    refused = offline.yz("put", "name", file)

    assert refused.code == 2
    assert f"yz: error: {file} cannot be read: " in refused.stderr


def test_a_terminal_is_not_taken_for_a_value(offline: Person, tmp_path: Path) -> None:
    with Terminal(offline.command("put", "name"), offline.environment(), tmp_path) as terminal:
        assert terminal.end() == 2
        assert "error: no value was given" in terminal.shown
        assert "pipe the value in" in terminal.shown


def test_a_put_on_a_condition_holds_only_for_the_seq_that_is_stored(person: Person) -> None:
    first = person.yz("--json", "put", "name", "--if-seq", "0", stdin=b"1").object["seq"]
    assert person.yz("put", "name", "--if-seq", str(first), stdin=b"2").code == 0

    refused = person.yz("--json", "put", "name", "--if-seq", str(first), stdin=b"3")

    assert refused.code == 8
    assert refused.error["exitCode"] == 8
    assert refused.error["seq"] > first
    assert person.yz("get", "name").stdout == b"2"


# get


@pytest.mark.parametrize("paths", ["1", "3"])
def test_a_value_is_read_along_disjoint_paths(person: Person, paths: str) -> None:
    person.yz("put", "name", stdin=b"value")
    link = person.yz("put", "--json", "--public", "other", stdin=b"public").object["link"]

    assert person.yz("get", "name", "--disjoint", paths).stdout == b"value"
    assert person.yz("get", "--disjoint", paths, link).stdout == b"public"


@pytest.mark.parametrize("paths", ["0", "4", "x"])
def test_more_paths_than_a_node_walks_are_refused(offline: Person, paths: str) -> None:
    refused = offline.yz("get", "name", "--disjoint", paths)

    assert refused.code == 2
    assert "--disjoint" in refused.stderr


def test_a_get_for_programs_says_all_about_a_value(person: Person) -> None:
    receipt = person.yz("--json", "put", "name", stdin="gr\u00fc\u00df\n".encode()).object

    view = person.yz("get", "name", "--json").object

    assert base64.b64decode(view.pop("data")).decode() == view.pop("text") == "gr\u00fc\u00df\n"
    created = view.pop("created")
    assert view == {
        "name": "name",
        "encoding": "base64",
        "origin": "sealed",
        "publisher": receipt["publisher"],
        "seq": receipt["seq"],
        "expires": receipt["expires"],
        "conflict": False,
        "movedTo": None,
    }
    assert receipt["expires"] - created == 30 * 86_400


def test_bytes_that_are_no_text_have_no_text(person: Person) -> None:
    person.yz("put", "name", "--public", stdin=b"\xff")

    view = person.yz("--json", "get", "name").object

    assert "text" not in view
    assert (view["data"], view["origin"]) == ("/w==", "signed")


def test_a_private_value_wins_over_a_public_one_of_the_same_name(person: Person) -> None:
    person.yz("put", "name", stdin=b"private")
    person.yz("put", "name", "--public", stdin=b"public")

    assert person.yz("get", "name").stdout == b"private"


def test_what_was_never_stored_is_not_found(person: Person) -> None:
    missing = person.yz("get", "name")

    assert (missing.code, missing.stdout) == (3, b"")
    assert missing.stderr.endswith(
        "yz: error: nothing is stored under 'name'\nyz: hint: check the name and, for another publisher, --from\n"
    )


def test_a_value_is_written_to_a_file_whole_and_for_its_owner(person: Person, tmp_path: Path) -> None:
    person.yz("put", "name", stdin=b"value")
    kept = tmp_path / "kept"
    kept.write_text("old")
    kept.chmod(0o644)
    (tmp_path / "link").symlink_to(kept)

    assert person.yz("get", "name", "-o", "new").stdout == b""
    assert person.yz("get", "name", "-o", "link").code == 0
    assert person.yz("get", "name", "-o", "-").stdout == b"value"

    assert (tmp_path / "new").read_bytes() == kept.read_bytes() == b"value"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert (tmp_path / "link").is_symlink()


def test_a_device_is_written_to_and_not_replaced(person: Person, tmp_path: Path) -> None:
    person.yz("put", "name", stdin=b"value")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert person.yz("get", "name", "-o", str(pipe)).code == 0
        assert reader.communicate()[0] == b"value"

    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_failed_get_leaves_the_file_as_it_was(person: Person, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")

    assert person.yz("get", "nothing", "-o", "out").code == 3
    assert (tmp_path / "out").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]


def test_a_file_that_cannot_be_written_is_an_error(person: Person) -> None:
    person.yz("put", "name", stdin=b"value")

    failed = person.yz("get", "name", "-o", "nowhere/file")

    assert failed.code == 1
    assert "hint: check the path" in failed.stderr


def test_a_reader_that_has_gone_is_no_reason_for_a_traceback(person: Person, tmp_path: Path) -> None:
    person.yz("put", "name", stdin=b"value")
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        person.command("get", "name"), check=False, stdout=write, stderr=subprocess.PIPE,
        env=person.environment(), cwd=tmp_path,
    )  # fmt: skip
    os.close(write)

    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_behind_stdout_is_told(person: Person, tmp_path: Path) -> None:
    person.yz("put", "name", stdin=b"value")

    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            person.command("get", "name"), check=False, stdout=full, stderr=subprocess.PIPE,
            env=person.environment(), cwd=tmp_path,
        )  # fmt: skip

    assert (done.returncode, done.stderr[:50]) == (1, b"yz: error: stdout: No space left on device\nyz: hin")


# get --from


@pytest.fixture
def other(tmp_path: Path, node: NodeProcess) -> Person:
    (tmp_path / "other").mkdir()
    return Person(tmp_path / "other" / "home").at(node.url)


def test_a_public_value_is_read_by_key_id_fingerprint_and_link(person: Person, other: Person) -> None:
    receipt = person.yz("--json", "put", "name", "--public", stdin=b"value").object
    me = person.yz("--json", "id", "show").object
    link = receipt["link"]

    unmet = other.yz("get", "name", "--from", me["fingerprint"])
    assert unmet.code == 3
    assert "was met" in unmet.stderr
    for whose in (me["publicKey"], me["nodeId"], me["nodeId"].upper(), me["fingerprint"].lower(), link):
        got = other.yz("get", "name", "--from", whose)
        assert (got.code, got.stdout) == (0, b"value"), (whose, got.stderr)
    assert person.yz("get", "name", "--from", me["fingerprint"]).stdout == b"value"
    assert other.yz("--json", "get", link).object["name"] == link

    foreign = other.yz("get", "another", "--from", link)
    assert foreign.code == 2
    assert "does not belong to the name 'another'" in foreign.stderr


def test_a_private_value_is_read_by_its_owner_alone(person: Person, other: Person) -> None:
    link = person.yz("--json", "put", "name", stdin=b"value").object["link"]

    assert person.yz("get", link).stdout == person.yz("get", "name", "--from", link).stdout == b"value"
    refused = other.yz("--json", "get", link)

    assert (refused.code, refused.stdout, refused.error["exitCode"]) == (9, b"", 9)


def test_a_node_id_of_nobody_is_not_found(person: Person) -> None:
    assert person.yz("get", "name", "--from", "00" * 32).code == 3


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["get", "name", "--from", "somebody"], 2, "--from 'somebody' names nobody"),
        (["get", "name", "--from", "A" * 44], 2, "a public key is a compressed point"),
        (["get", "name", "--from", "Av" + "_" * 42], 5, "key"),
        (["get", "yz:abc"], 2, "the link is damaged"),
        (["get", "name", "--from", "yz:abc"], 2, "the link is damaged"),
        (["get", "yz:abc", "--from", "yz:abc"], 2, "the link says already whose value it is"),
        (["put", "yz:abc", "file"], 2, "starts like a link"),
        (["rm", "yz:abc"], 2, "starts like a link"),
        (["put", "name", "--ttl", "soon"], 2, "the ttl 'soon' is not a duration"),
        (["put", "name", "--ttl", "31d"], 2, "not between 1 second and 30 days"),
        (["put", "name", "--if-seq", "-1"], 2, "'--if-seq'"),
        (["put"], 2, "missing argument 'NAME'"),
        (["get"], 2, "missing argument 'NAME'"),
        (["rm", "a", "b"], 2, "unexpected extra argument"),
        (["get", "a", "--bogus"], 2, "no such option '--bogus'"),
        (["forget", "a"], 2, "no such command 'forget'"),
        (["--log-level", "loud", "ping"], 2, "'--log-level'"),
        (["--passphrase-fd", "99999", "ping"], 2, "descriptor 99999"),
    ],
)
def test_what_is_written_wrongly_is_refused_before_any_node_is_asked(
    in_process: InProcess, words: list[str], code: int, error: str, tmp_path: Path
) -> None:
    home = ["--home", str(tmp_path / "home")]

    said = in_process(main, *home, *words)

    assert (said.code, said.stdout) == (code, "")
    first, *_ = said.stderr.splitlines()
    assert first.startswith("yz: error: ")
    assert error in first


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["get", ""], "a name is 1 to 1,024 bytes"),
        (["get", "x" * 1_025], "a name is 1 to 1,024 bytes"),
        (["--network", "", "ping"], "network name"),
        (["--node", "http://127.0.0.1", "ping"], "starts with none of tcp://, ws:// and wss://"),
        (["--home", "/dev/null/home", "id", "show"], "Not a directory"),
    ],
)
def test_what_the_library_refuses_is_told_like_everything_else(
    person: Person, words: list[str], error: str
) -> None:
    refused = person.yz(*words)

    assert refused.code in (1, 2)
    assert error in refused.stderr


# rm


def test_a_deleted_name_is_gone_private_and_public(person: Person) -> None:
    person.yz("put", "name", stdin=b"private")
    person.yz("put", "name", "--public", stdin=b"public")

    removed = person.yz("--json", "rm", "name").object

    assert removed["name"] == "name"
    assert [receipt["accepted"] for receipt in removed["deleted"]] == [1, 1]
    assert person.yz("get", "name").code == 3
    again = person.yz("rm", "name")
    assert (again.code, "nothing is stored" in again.stderr) == (3, True)
    assert person.yz("put", "name", stdin=b"new").code == 0
    assert "deleted by 1 of 1 node" in person.yz("rm", "name").stderr


# For named people, and under a passphrase


def key_of(person: Person) -> str:
    key: str = person.yz("--json", "id", "show").object["publicKey"]
    return key


def test_a_value_for_somebody_is_read_by_them_under_the_name_of_its_publisher(
    person: Person, other: Person, tmp_path: Path
) -> None:
    (tmp_path / "third").mkdir()
    third = Person(tmp_path / "third" / "home", person.options)
    other.yz("put", "any", stdin=b"")  # publishes their keys
    person.yz("id", "add", "anna", key_of(other))
    other.yz("id", "add", "ben", key_of(person))

    stored = person.yz("--json", "put", "plan", "--to", "Anna", stdin=b"for anna")

    assert (stored.code, stored.object["public"]) == (0, False)
    assert other.yz("get", "plan", "--from", "ben").stdout == b"for anna"
    assert person.yz("get", "plan").stdout == b"for anna"
    foreign = third.yz("get", "plan", "--from", key_of(person))
    assert (foreign.code, foreign.stdout) == (9, b"")
    assert "sealed for others" in foreign.stderr


def test_people_are_named_by_whatever_says_who_they_are(person: Person, other: Person) -> None:
    link = other.yz("--json", "put", "any", "--public", stdin=b"x").object["link"]
    me = other.yz("--json", "id", "show").object
    person.yz("get", "any", "--from", link)
    for who in (me["publicKey"], me["nodeId"], me["fingerprint"].lower(), link):
        stored = person.yz("put", "note", "--to", who, stdin=who.encode())
        assert stored.code == 0, stored.stderr
        assert other.yz("get", "note", "--from", key_of(person)).stdout == who.encode()


def test_nothing_is_sealed_for_somebody_without_keys(person: Person, other: Person) -> None:
    refused = person.yz("put", "note", "--to", key_of(other), stdin=b"")

    assert refused.code == 3
    assert "no keys of" in refused.stderr
    assert "they must have stored something once" in refused.stderr


def test_a_value_under_a_passphrase_is_read_with_it_and_its_link(person: Person, other: Person) -> None:
    stored = person.yz(
        "--json", "put", "wifi", "--passphrase-fd", "{fd0}", stdin=b"secret", passphrases=["correct horse"]
    )
    link = stored.object["link"]

    def read(who: Person, name: str, passphrase: str) -> Ran:
        return who.yz("get", name, "--passphrase-fd", "{fd0}", passphrases=[passphrase])

    assert read(person, "wifi", "correct horse").stdout == b"secret"
    assert read(other, link, "correct horse").stdout == b"secret"
    wrong, none = read(other, link, "battery staple"), other.yz("get", link)
    assert (wrong.code, wrong.stdout) == (5, b"")
    assert "the passphrase does not open this value" in wrong.stderr
    assert (none.code, none.stdout) == (9, b"")
    assert "give it behind the command: yz get yz:" in none.stderr


def test_one_kind_of_readers_is_chosen(offline: Person) -> None:
    refused = offline.yz("put", "note", "--public", "--to", "anna", stdin=b"")

    assert refused.code == 2
    assert "exclude each other" in refused.stderr
