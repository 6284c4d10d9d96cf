"""yz chat as people and programs use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import PATIENCE_S, Person, Terminal
from tests.cli.test_group import ben, key_of, together  # noqa: F401 - a fixture
from yzdht.cli.presence import HERE, LEAVES, Presence, Whereabouts
from yzdht.crypto.primitives import PrivateKey
from yzdht.ids import SendSession
from yzdht.limits import CHAT_GONE_S, CHAT_SEATS_MAX
from yzdht.wire.holdings import Series


SHIFTED = Path(__file__).parent.parent / "process" / "shifted.py"

if TYPE_CHECKING:
    from yzdht.ids import PublicKey


def terminal(person: Person, *words: str) -> Terminal:
    return Terminal(person.command("chat", *words), person.environment(), person.home.parent)


@pytest.mark.net
@pytest.mark.process
def test_two_people_talk_and_see_who_is_there(person: Person, ben: Person) -> None:  # noqa: F811 - the fixture
    together(person, ben)
    assert ben.yz("id", "add", "anna", key_of(person)).code == 0
    assert person.yz("pub", "--group", "team", "chat", "before").code == 0

    with terminal(person, "team") as anna, terminal(ben, "team") as bens:
        anna.expect("you are in team; say something, end with Ctrl-D")
        bens.expect("anna: before")
        anna.expect("* ben is here")
        bens.expect("* anna is here")
        anna.type("hello ben\n")
        bens.expect("anna: hello ben")
        bens.type("hello\n")
        anna.expect("ben: hello")
        bens.type("\x04")
        assert bens.end() == 0
        anna.expect("* ben left")
        anna.type("\x03")
        assert anna.end() == 130
    with terminal(ben, "team") as again:
        again.expect("hello ben")
        again.type("\x04")
        assert again.end() == 0

    assert "* anna" not in again.shown  # who came, and left before
    said = bens.shown
    assert re.search(r"^\d\d:\d\d anna: hello ben\r$", said, re.MULTILINE)
    assert anna.shown.count("hello ben") == 1  # as it was typed
    assert "Traceback" not in anna.shown


@pytest.mark.net
@pytest.mark.process
def test_a_program_talks_through_pipes(person: Person, ben: Person) -> None:  # noqa: F811 - the fixture
    together(person, ben)
    bot = subprocess.Popen(
        person.command("--json", "chat", "--since", "0s", "team"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=person.environment(), cwd=person.home.parent,
    )  # fmt: skip
    with bot, terminal(ben, "team") as bens:
        assert bot.stdin is not None
        assert bot.stdout is not None
        here = json.loads(bot.stdout.readline())
        assert here == {"presence": "here", "sender": key_of(ben), "name": "ben"}
        bens.type("status?\n\n")
        asked = json.loads(bot.stdout.readline())
        assert (asked["text"], asked["name"], asked["type"], asked["history"]) == ("status?", "ben", 0, False)
        bot.stdin.write(b"all is well\nno, really")
        bot.stdin.close()
        bens.expect(": all is well")
        bens.expect(": no, really")
        bens.expect(" left")
        assert bot.wait(PATIENCE_S) == 0
        assert bot.stderr is not None
        assert bot.stderr.read() == b""
        bens.type("\x04")
        assert bens.end() == 0


@pytest.mark.net
@pytest.mark.process
def test_what_was_said_before_is_shown_in_the_order_of_its_time(person: Person, ben: Person) -> None:  # noqa: F811 - the fixture
    together(person, ben)
    clock = person.home.parent / "clock"
    for minutes, (who, word) in enumerate([(person, "one"), (ben, "two"), (person, "three"), (ben, "four")]):
        clock.write_text(str(60 * (minutes - 10)))
        command = who.command("pub", "--group", "team", "chat", word)
        subprocess.run(
            [sys.executable, str(SHIFTED), str(clock), *command],
            check=True, env=who.environment(), cwd=who.home.parent, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    with terminal(person, "team") as anna:
        anna.expect("four")
        anna.type("\x04")
        anna.end()

    assert re.findall(r"(one|two|three|four)", anna.shown) == ["one", "two", "three", "four"]


@pytest.mark.net
@pytest.mark.process
def test_a_chat_needs_a_group(person: Person) -> None:
    unknown = person.yz("chat", "nobody")

    assert (unknown.code, unknown.stderr.count("yz: error: ")) == (3, 1)
    assert "see: yz group list" in unknown.stderr


@pytest.mark.net
@pytest.mark.process
def test_stdin_that_ends_at_once_ends_it(person: Person) -> None:
    person.yz("group", "create", "team")
    said = person.yz("chat", "team", stdin=b"on my way\n")

    assert (said.code, said.stdout) == (0, b"")
    assert (
        person.yz("sub", "--group", "team", "--since", "1h", "--count", "1", "chat").stdout == b"on my way\n"
    )


# Who is there


def series(person: PublicKey, number: int = 0) -> Series:
    return Series(person, SendSession(number.to_bytes(8, "big")))


ANNA = PrivateKey.generate().public_key
BEN = PrivateKey.generate().public_key


def test_somebody_is_there_from_their_first_word_to_their_last() -> None:
    presence = Presence()

    assert presence.hear(series(ANNA), HERE, 0.0) == (ANNA, Whereabouts.HERE)
    assert presence.hear(series(ANNA), HERE, 60.0) is None
    assert presence.hear(series(BEN), b"of a later version", 60.0) == (BEN, Whereabouts.HERE)
    assert presence.hear(series(ANNA), LEAVES, 70.0) == (ANNA, Whereabouts.LEFT)
    assert presence.hear(series(ANNA), LEAVES, 71.0) is None


def test_somebody_with_two_programs_is_there_until_both_have_left() -> None:
    presence = Presence()
    presence.hear(series(ANNA, 1), HERE, 0.0)

    assert presence.hear(series(ANNA, 2), HERE, 1.0) is None
    assert presence.hear(series(ANNA, 1), LEAVES, 2.0) is None
    assert presence.hear(series(ANNA, 2), LEAVES, 3.0) == (ANNA, Whereabouts.LEFT)


def test_who_falls_silent_has_left() -> None:
    presence = Presence()
    presence.hear(series(ANNA, 1), HERE, 0.0)
    presence.hear(series(ANNA, 2), HERE, 100.0)
    presence.hear(series(BEN), HERE, 0.0)

    assert presence.expire(float(CHAT_GONE_S)) == []
    assert presence.expire(CHAT_GONE_S + 1.0) == [(BEN, Whereabouts.LEFT)]
    assert presence.expire(CHAT_GONE_S + 101.0) == [(ANNA, Whereabouts.LEFT)]


def test_one_chat_has_so_many_seats_and_no_more() -> None:
    presence = Presence()
    for number in range(CHAT_SEATS_MAX + 10):
        presence.hear(series(ANNA, number), HERE, float(number))

    assert len(presence._heard) == CHAT_SEATS_MAX
