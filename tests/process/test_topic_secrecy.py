"""Nobody but who may reads a message, the name of a topic or the name of a group: not the hosts, and nobody on the wire.

What anybody sent is kept by the wiretaps of tapped.py, and searched with every file of every node for what was said in a
group, for the names of both topics and of the group, and for its secrets. In public a message is signed and not sealed to anybody, so
that the files of its hosts hold what it says, and no wire does: it is the canary, by which the same search is known to find.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.process.broadcast import Hearer, Topic
from tests.process.fleet import until
from tests.process.needles import found_in
from tests.process.tapped import NODES, plant, strangers_to_the_taps
from yzdht import Client
from yzdht.limits import DAY_S
from yzdht.pubsub.publisher import majority
from yzdht.wire.group_state import Member as Listed


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.tapped import Tapped


pytestmark = pytest.mark.process

HOSTS_MIN = majority(3)
MESSAGES = 30


def drawn(word: str) -> str:
    return f"{word}?>ÿ-{secrets.token_hex(12)}"


@dataclass(slots=True)
class Club:
    """Two who talk in a group, and in public.

    Attributes:
        tapped: The nodes.
        folder: Where their homes are.
        group: What the first calls the group; the second has another name for it.
        said: In the group.
        needles: What nobody may see.

    """

    tapped: Tapped
    folder: Path
    group: str = field(default_factory=lambda: f"club-{secrets.token_hex(12)}")
    private: Topic = field(default_factory=lambda: Topic(drawn("private")))
    public: Topic = field(default_factory=lambda: Topic(drawn("public")))
    needles: list[str | bytes] = field(default_factory=list)

    def client(self, name: str, *through: int) -> Client:
        urls = [self.tapped.nodes[number].url for number in through]
        drawn = self.tapped.secrets
        return Client.connect(
            *urls, home=self.folder / name, passphrase=drawn.passphrase, network=drawn.network
        )

    async def form(self, first: Client, second: Client) -> None:
        """Make the group, and know its secrets."""
        groups, one = first.records.groups, second.identity
        await groups.create(self.group)
        await groups.add(self.group, Listed(one.public_key, one.kem[0].key.public_key))
        await second.records.groups.adopt(f"{self.group}-too", groups.group_key(self.group))
        known = first.records.known_groups
        self.needles += [self.group, self.private.name, self.public.name, *self.tapped.secrets.all_but_canary]
        self.needles += [bytes((await known.current(self.group)).state.name_secret)]
        self.needles += [bytes(epoch.secret) for epoch in known.message_epochs(self.group)]

    async def talk(self, first: Client, second: Client) -> None:
        """The second hears it live, the first afterwards; in public the second alone."""
        live = Hearer("live", self.private, f"{self.group}-too")
        heard = Hearer("in public", self.public)
        await live.listen(second)
        await heard.listen(second)
        for number in range(MESSAGES):
            said = drawn("said")
            text = f"{'y' * (number % 3)}{said}" * (1 + number % 40)
            self.needles.append(said)
            await self.private.publish(first, self.group, text.encode())
            await self.public.publish(first, None, f"{number} {self.tapped.secrets.canary}".encode())
        late = Hearer("late", self.private, self.group)
        await late.listen(first, DAY_S)
        await all_hear([live, heard, late])


async def all_hear(hearers: Sequence[Hearer]) -> None:
    async def is_heard() -> bool:
        return not any(hearer.missing() for hearer in hearers)

    await until(is_heard, "all is heard")
    for hearer in hearers:
        await hearer.rest()
        hearer.check()
        assert len(hearer.messages) == MESSAGES


async def test_no_wire_and_no_file_of_a_host_shows_a_message_or_a_name(
    tapped: Tapped, tmp_path: Path, note: Note
) -> None:
    club, canary = Club(tapped, tmp_path / "homes"), tapped.secrets.canary
    (tmp_path / "homes").mkdir()
    async with club.client("first", 0, 1) as first, club.client("second", 2, 3) as second:
        await club.form(first, second)
        await club.talk(first, second)
        assert strangers_to_the_taps(tapped) == []
    wires = tapped.wires()
    assert found_in(wires, [*club.needles, canary]) == []
    await plant(tapped)

    async def is_recorded() -> bool:
        return bool(found_in(tapped.wires(), [canary]))

    await until(is_recorded, "the wiretap saw the planted canary")

    holders = check_files(tapped, club)
    await asyncio.gather(*(node.stop() for node in tapped.nodes))
    assert check_files(tapped, club) >= holders
    note(
        f"searched {sum(map(len, wires.values())):,} B of wires and {sum(map(len, tapped.files().values())):,} B of files"
        f" for {len(club.needles)} secrets; {len(holders)} of {NODES} nodes hold the canary"
    )


def check_files(tapped: Tapped, club: Club) -> set[str]:
    """Search every file of every node; which nodes hold the canary."""
    files = tapped.files()
    assert found_in(files, club.needles) == []
    shown = found_in(files, [tapped.secrets.canary])
    assert all("records.sqlite" in line for line in shown), shown
    holders = {line.rpartition(" in ")[2].partition("/")[0] for line in shown}
    assert len(holders) >= HOSTS_MIN
    return holders
