"""yz pub and yz sub as people and programs use them."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import PATIENCE_S, NodeProcess, Person
from tests.cli.test_group import ben, key_of, together  # noqa: F401 - a fixture


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.net, pytest.mark.process]

MESSAGE = [
    "data", "encoding", "text", "sender", "name", "session", "index", "id", "type", "created", "received", "history",
    "late",
]  # fmt: skip


def objects(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def begun(person: Person, *words: str) -> subprocess.Popen[bytes]:
    """A command that goes on, and heeds Ctrl-C."""
    return subprocess.Popen(
        person.command(*words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=person.environment(),
        cwd=person.home.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as of programs.Terminal
    )


def started(person: Person, *words: str) -> subprocess.Popen[bytes]:
    """The same, once it has said that it listens."""
    process = begun(person, *words)
    assert process.stderr is not None
    said = b""
    while b"end with Ctrl-" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_what_is_published_is_heard_by_who_listens_and_by_who_comes_later(
    person: Person, tmp_path: Path
) -> None:
    reader = Person(tmp_path / "reader", person.options)
    assert reader.yz("id", "add", "anna", key_of(person)).code == 0
    with started(reader, "sub", "--count", "2", "live") as listening:
        published = person.yz("pub", "live", "at noon")
        piped = person.yz("pub", "live", stdin=b"at one\n")
        shown, said = listening.communicate(timeout=PATIENCE_S)

    assert (published.code, published.stdout) == (0, b"")
    assert published.stderr == "published, stored by 1 of 1 host\n"
    assert piped.code == listening.returncode == 0
    assert shown == b"at noon\nat one\n"
    assert said == b"from anna:\n"
    assert set(reader.yz("sub", "--since", "1h", "--count", "2", "live").text.splitlines()) == {
        "at noon",
        "at one",
    }
    assert person.yz("sub", "--since", "1h", "--count", "1", "live").stderr.endswith("from you:\n")


def test_messages_for_programs(person: Person) -> None:
    done = person.yz("--json", "pub", "objects", "caf\u00e9")
    raw = person.yz("pub", "--json", "objects", "-", stdin=b"\xff\x00")

    assert list(done.object) == ["topic", "id", "session", "index", "created", "stored", "hosts"]
    assert (done.stderr, done.object["index"], done.object["stored"]) == ("", 0, 1)
    heard = person.yz("--json", "sub", "--since", "1h", "--count", "2", "objects")
    assert (heard.code, heard.stderr) == (0, "")
    views = {view["id"]: view for view in objects(heard.stdout)}
    text, binary = views[done.object["id"]], views[raw.object["id"]]
    assert list(text) == MESSAGE
    assert (text["text"], text["name"], text["history"], text["late"]) == ("caf\u00e9", "you", True, False)
    assert (text["sender"], text["session"]) == (key_of(person), done.object["session"])
    assert "text" not in binary
    assert base64.b64decode(binary["data"]) == b"\xff\x00"


def test_lines_are_messages_in_their_order(person: Person) -> None:
    key_of(person)  # is made by that
    lines = [f"line {number}" for number in range(100)]
    done = person.yz("pub", "--lines", "lines", stdin="\n".join(lines).encode())

    assert (done.code, done.stderr) == (0, "published 100 of 100 messages\n")
    heard = person.yz("--json", "sub", "--since", "1h", "--count", "100", "lines")
    assert [(view["text"], view["index"]) for view in objects(heard.stdout)] == [
        (line, number) for number, line in enumerate(lines)
    ]
    told = person.yz("--json", "pub", "--lines", "told", stdin=b"a\n\nb\n")
    assert [(view["index"], view["stored"]) for view in objects(told.stdout)] == [(0, 1), (1, 1), (2, 1)]


def test_a_line_is_sent_before_the_next_one_is_there(person: Person) -> None:
    process = subprocess.Popen(
        person.command("--json", "pub", "--lines", "slow"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=person.environment(), cwd=person.home.parent,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        for number in range(2):
            process.stdin.write(b"tick\n")
            process.stdin.flush()
            assert json.loads(line_of(process))["index"] == number
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_a_cursor_goes_on_where_it_was(person: Person, tmp_path: Path) -> None:
    cursor = tmp_path / "here.cursor"
    sub = ("sub", "--cursor", str(cursor), "--since", "1h")
    person.yz("pub", "--lines", "kept", stdin=b"one\ntwo\nthree\n")

    assert person.yz(*sub, "--count", "2", "kept").stdout == b"one\ntwo\n"
    assert cursor.stat().st_mode & 0o777 == 0o600
    before = cursor.read_bytes()
    assert person.yz(*sub, "--count", "1", "kept").stdout == b"three\n"
    assert cursor.read_bytes() != before
    with started(person, *sub, "kept") as listening:
        person.yz("pub", "kept", "four")
        assert line_of(listening) == b"four\n"
        listening.send_signal(signal.SIGINT)
        assert listening.wait(PATIENCE_S) == 130
    person.yz("pub", "kept", "five")
    assert person.yz(*sub, "--count", "1", "kept").stdout == b"five\n"


def test_a_cursor_that_is_none_or_of_another_topic_is_refused(person: Person, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    person.yz("pub", "first", "x")
    person.yz("sub", "--since", "1h", "--count", "1", "--cursor", str(cursor), "first")
    kept = cursor.read_bytes()

    other = person.yz("sub", "--cursor", str(cursor), "second")
    assert (other.code, "cursor of another topic" in other.stderr) == (2, True)
    assert cursor.read_bytes() == kept
    cursor.write_bytes(b"nonsense")
    refused = person.yz("sub", "--cursor", str(cursor), "first")
    assert (refused.code, "this is no cursor" in refused.stderr) == (2, True)
    nowhere = person.yz("sub", "--cursor", str(tmp_path / "none" / "cursor"), "first")
    assert (nowhere.code, nowhere.stderr.count("yz: error: ")) == (1, 1)


def test_a_group_reads_what_nobody_else_does(person: Person, ben: Person) -> None:  # noqa: F811 - the fixture
    together(person, ben)
    assert person.yz("pub", "--group", "team", "plans", "at nine").code == 0
    assert ben.yz("pub", "--lines", "--group", "TEAM", "plans", stdin=b"yes\nsure").code == 0

    heard = ben.yz("--json", "sub", "--group", "team", "--since", "1h", "--count", "3", "plans")
    assert sorted(view["text"] for view in objects(heard.stdout)) == ["at nine", "sure", "yes"]
    assert ben.yz("pub", "plans", "in public").code == 0
    assert ben.yz("sub", "--since", "1h", "--count", "1", "plans").stdout == b"in public\n"
    for words in (("pub", "--group", "none", "plans", "x"), ("sub", "--group", "none", "plans")):
        unknown = person.yz(*words)
        assert (unknown.code, "yz: hint: see: yz group list" in unknown.stderr) == (3, True)


def test_ctrl_c_ends_it_without_a_word(person: Person) -> None:
    person.yz("pub", "quiet", "x")
    for words in (("sub",), ("--json", "sub")):
        with begun(person, *words, "--since", "1h", "quiet") as listening:
            assert b"x" in line_of(listening)
            listening.send_signal(signal.SIGINT)
            _, said = listening.communicate(timeout=PATIENCE_S)
        assert listening.returncode == 130
        assert said.decode().split() in (
            [],
            ["listening", "to", "quiet;", "end", "with", "Ctrl-C", "from", "you:"],
        )


def test_a_pipe_that_closes_ends_it_without_a_word_even_if_nothing_more_comes(person: Person) -> None:
    with started(person, "sub", "closing") as listening:
        assert listening.stdout is not None
        assert listening.stderr is not None
        person.yz("pub", "closing", "x")
        assert line_of(listening) == b"x\n"
        listening.stdout.close()
        assert listening.wait(PATIENCE_S) == 1
        assert listening.stderr.read() == b"from you:\n"


def test_a_message_steers_no_terminal(person: Person) -> None:
    person.yz("pub", "orders", stdin=b"\x1b[2Jline one\nline two\xff\n")

    assert person.yz("sub", "--since", "1h", "--count", "1", "orders").stdout == (
        b"\\x1b[2Jline one\\nline two\\xff\n"
    )


@pytest.mark.parametrize(
    ("words", "stdin", "fact"),
    [
        (("pub", "--lines", "topic", "message"), None, "--lines reads messages from stdin"),
        (("pub", "topic"), b"x" * 65_336, "the message is longer than 65,335 bytes"),
        (("pub", "--lines", "topic"), b"fine\n" + b"x" * 65_336, "line 2 is longer than 65,335 bytes"),
        (("pub", "--timeout", "0", "topic", "x"), None, "the timeout 0 is not between 1 second and a day"),
        (("pub", "--timeout", "soon", "topic", "x"), None, "'soon' is not a duration"),
        (("pub", "", "x"), None, "a name is 1 to 1,024 bytes"),
        (("sub", ""), None, "a name is 1 to 1,024 bytes"),
        (("sub", "--since", "yesterday", "topic"), None, "'yesterday' is not a duration"),
        (("sub", "--count", "0", "topic"), None, "'--count'"),
    ],
)
def test_mistakes_are_told(person: Person, words: tuple[str, ...], stdin: bytes | None, fact: str) -> None:
    ran = person.yz(*words, stdin=stdin)

    assert (ran.code, ran.stdout) == (2, b"")
    assert fact in ran.stderr.partition("yz: error: ")[2]
    assert "yz: hint: " in ran.stderr


def test_without_a_node_both_end_with_no_node(offline: Person) -> None:
    for words in (("pub", "topic", "x"), ("sub", "topic")):
        assert offline.at("ws://127.0.0.1:1").yz(*words).code == 7


def test_a_reader_that_is_slow_holds_nothing_up_and_misses_nothing_when_it_is_ended(
    person: Person, tmp_path: Path
) -> None:
    lines = [f"{number:06}".encode() + b"x" * 10_000 for number in range(30)]
    person.yz("pub", "--lines", "slowly", stdin=b"\n".join(lines))
    sub = ("sub", "--cursor", str(tmp_path / "cursor"), "--since", "1h")
    with begun(person, *sub, "slowly") as listening:
        shown = [line_of(listening) for _ in range(3)]
        listening.send_signal(signal.SIGINT)  # while the pipe is full
        assert listening.wait(PATIENCE_S) == 130
        assert listening.stdout is not None
        shown += listening.stdout.readlines()
    whole = [line.removesuffix(b"\n") for line in shown if line.endswith(b"\n")]

    assert whole == lines[: len(whole)]
    assert len(whole) < len(lines)
    with begun(person, *sub, "slowly") as again:
        rest = [line_of(again).removesuffix(b"\n")]
        while rest[-1] != lines[-1]:
            rest.append(line_of(again).removesuffix(b"\n"))
        again.terminate()
    assert rest == lines[-len(rest) :]
    assert len(whole) + len(rest) >= len(lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_its_cursor_kept(
    person: Person, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    cursor = tmp_path / "cursor"
    topic = f"signal {code}"  # the node is the same for all tests
    sub = ("sub", "--cursor", str(cursor), "--since", "1h", topic)
    person.yz("pub", topic, "one")
    with started(person, *sub) as listening:
        assert line_of(listening) == b"one\n"
        listening.send_signal(number)
        shown, said = listening.communicate(timeout=PATIENCE_S)
    assert (listening.returncode, shown, said.split()) == (code, b"", [b"from", b"you:"])
    person.yz("pub", topic, "two")
    with started(person, *sub) as listening:
        assert line_of(listening) == b"two\n"
        listening.terminate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_lines_with_a_word_of_what_came_of_them(
    person: Person, number: signal.Signals, code: int
) -> None:
    key_of(person)  # is made by that
    topic = f"ended {code}"
    with (
        begun(person, "--json", "pub", "--lines", topic) as counted,
        begun(person, "pub", "--lines", topic) as said,
    ):
        for process in (counted, said):
            assert process.stdin is not None
            process.stdin.write(b"one\ntwo\n")
            process.stdin.flush()
        assert [json.loads(line_of(counted))["index"] for _ in range(2)] == [0, 1]
        assert person.yz("sub", "--since", "1h", "--count", "4", topic).code == 0
        for process in (counted, said):
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == code
        assert counted.stderr is not None
        assert said.stderr is not None
        assert counted.stderr.read().strip() == b""
        assert said.stderr.read().strip() == b"published 2 of 2 messages"


def test_a_line_that_is_too_long_ends_none_of_the_others(person: Person) -> None:
    lines = [b"one", b"x" * 65_336, b"y" * 200_000, b"four", b"z" * 65_335]
    done = person.yz("--json", "pub", "--lines", "long", stdin=b"\n".join(lines))

    told = objects(done.stdout)
    assert [view.get("index", view.get("line")) for view in told] == [0, 2, 3, 1, 2]
    assert (done.code, done.error["error"]) == (2, "line 3 is longer than 65,335 bytes")


def test_lines_wait_for_a_host_that_comes_back(person: Person, tmp_path: Path) -> None:
    key_of(person)  # is made by that; whichever of two commands made it would say so
    with NodeProcess(tmp_path / "here") as here:
        port = here.ready().view["port"]
        process = begun(Person(person.home).at(here.url), "pub", "--lines", "back")
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        heard = person.at(here.url).yz("sub", "--since", "1h", "--count", "1", "back")
        assert heard.stdout == b"one\n"
        here.end(signal.SIGKILL)
        process.stdin.write(b"two\nthree\n")
        process.stdin.close()
        assert b"warning: line 2 waits for hosts of the topic" in process.stderr.readline()
    with NodeProcess(tmp_path / "here", "--port", str(port)) as again:
        again.ready()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read().endswith(b"published 3 of 3 messages\n")
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        heard = person.at(again.url).yz("sub", "--since", "1h", "--count", "3", "back")
        assert heard.stdout == b"one\ntwo\nthree\n"


def test_who_listens_is_told_that_no_host_answers_and_that_one_does_again(
    person: Person, tmp_path: Path
) -> None:
    with NodeProcess(tmp_path / "here") as here:
        port = here.ready().view["port"]
        listening = started(Person(person.home).at(here.url), "sub", "lonely")
        here.end(signal.SIGKILL)
        assert listening.stderr is not None
        assert listening.stderr.readline() == b"yz: warning: no host of the topic answers any more\n"
        assert listening.stderr.readline().startswith(b"yz: hint: ")
    with NodeProcess(tmp_path / "here", "--port", str(port)) as again, listening:
        again.ready()
        assert listening.stderr.readline() == b"a host of the topic answers again\n"
        listening.terminate()


def test_a_line_that_no_host_took_is_told_and_the_next_one_is_tried(person: Person, tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "alone") as alone:
        process = begun(
            Person(person.home).at(alone.ready().url), "--json", "pub", "--timeout", "1s", "--lines", "gone"
        )
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert json.loads(line_of(process))["stored"] == 1
        alone.end()
        with process:
            stdout, stderr = process.communicate(b"two\nthree\n", timeout=PATIENCE_S)

    told = objects(stdout)
    assert [view["line"] for view in told] == [2, 3]
    error = json.loads(stderr)
    assert process.returncode == error["exitCode"] == told[-1]["exitCode"]
    assert process.returncode in (6, 7)
