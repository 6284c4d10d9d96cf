"""What stands before the command of `yz`, and what every command makes of it: an identity, a client."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path  # noqa: TC003 - field types of a dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from yzdht.cli.network_key import read_network_key
from yzdht.cli.passphrase import opened
from yzdht.cli.screen import Screen  # noqa: TC001 - field types of a dataclass


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from yzdht.client import Client
    from yzdht.errors import YzError
    from yzdht.people import People
    from yzdht.records import Records
    from yzdht.store.keyfile import Identity
    from yzdht.store.marks import MemoryMarks, SqliteMarks


DEFAULT_NODE = "ws://127.0.0.1:8083"
KEY_NAME = "identity.key"

_T = TypeVar("_T")

json_option = click.option(
    "--json", "is_json", is_flag=True, expose_value=False, help="Print objects, for programs."
)
"""Accepted before and after the command; `running.run` has read it by then."""


@dataclass(frozen=True)
class Settings:
    """The options before the command.

    Attributes:
        screen: Where to write.
        nodes: Addresses of nodes, tried in turn.
        home: Folder of the identity and of what it has seen.
        network: Name of the network.
        network_key_path: File of a private network's key.
        ca: File of the authorities that count when wss is dialled; None for the system's.
        passphrase: What --passphrase-fd or the systemd credential says; None for neither.

    """

    screen: Screen
    nodes: tuple[str, ...]
    home: Path
    network: str
    network_key_path: Path | None
    ca: Path | None
    passphrase: str | None = field(repr=False)

    @property
    def key_path(self) -> Path:
        """The home's keyfile."""
        return self.home / KEY_NAME

    @cached_property
    def identity(self) -> Identity:
        """The home's identity, made on first use; prompts for its passphrase if it has to, once.

        Raises:
            WrongPassphrase: It does not open.
            StoreError: It cannot be read or written.

        """
        from yzdht.store.keyfile import Identity  # noqa: PLC0415 - loads the cryptography

        path = self.key_path
        is_new = not os.path.lexists(path)
        identity = opened(
            lambda passphrase: Identity.load_or_create(path, passphrase=passphrase),
            self.passphrase,
            f"passphrase of {path}: ",
        )
        if is_new:
            self.screen.say(f"a new identity was made, {identity.fingerprint}, in {path}")
        return identity

    @contextmanager
    def remembered(self) -> Iterator[MemoryMarks | SqliteMarks]:
        """What the home remembers, without any node; the home is made on first use.

        Raises:
            As `identity`.

        """
        from yzdht.store.home import Home  # noqa: PLC0415 - loads the cryptography

        home = Home.open(self.home, identity=self.identity)
        try:
            yield home.marks
        finally:
            home.close()

    @contextmanager
    def offline(self) -> Iterator[Records]:
        """Reads and writes that reach no node, for what the home knows of its groups; the home is made on first use.

        Raises:
            As `identity`.

        """
        from yzdht.access import Offline  # noqa: PLC0415 - loads the cryptography
        from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above
        from yzdht.records import Records  # noqa: PLC0415 - as above
        from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above
        from yzdht.store.entropy import SystemRng  # noqa: PLC0415 - as above
        from yzdht.store.home import Home  # noqa: PLC0415 - as above

        home = Home.open(self.home, identity=self.identity)
        try:
            access = Offline(SystemClock().now)
            yield Records(home.identity, network_id(self.network), access, home.keeps, SystemRng())
        finally:
            home.close()

    def through_client(
        self,
        doing: str,
        work: Callable[[Client], Awaitable[_T]],
        *,
        invite: str | None = None,
        identity: Identity | None = None,
        is_anybody: bool = False,
        is_lasting: bool = False,
    ) -> _T:
        """Connect, work, say goodbye.

        Args:
            doing: Shown when it takes long.
            work: Given the connected client.
            invite: Link by which a closed network lets in whoever is no member yet.
            identity: Whose client it is instead of the home's; nothing that it sees is kept then.
            is_anybody: It does not matter whose client it is: no key is opened, and no home made.
            is_lasting: It goes on until somebody ends it; only connecting is shown then.

        Raises:
            NoNode: No node could be reached.
            YzError: Whatever the work raises.

        """
        from contextlib import ExitStack  # noqa: PLC0415 - not needed by --version

        from yzdht.cli.ending import run_until_ended  # noqa: PLC0415 - loads asyncio
        from yzdht.cli.progress import progress  # noqa: PLC0415 - loads asyncio
        from yzdht.client import Client  # noqa: PLC0415 - loads the cryptography and the transport
        from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above
        from yzdht.store.keyfile import Identity  # noqa: PLC0415 - as above
        from yzdht.wire.address import parse_url  # noqa: PLC0415 - as above

        nodes = self.nodes or (DEFAULT_NODE,)
        for url in nodes:
            parse_url(url)  # what is mistyped is refused before a passphrase is asked for
        network_id(self.network)
        network_key = read_network_key(self.network_key_path)
        home = None if identity or (is_anybody and not self.home.is_dir()) else self.home
        if identity is None:
            identity = Identity.generate() if is_anybody else self.identity
        client = Client.connect(
            *nodes,
            identity=identity,
            home=home,
            network=self.network,
            network_key=network_key,
            invite=invite,
            ca=self.ca,
        )

        async def connect_and_work() -> tuple[_T, People, YzError | None]:
            with ExitStack() as shown:
                shown.enter_context(progress(doing))
                async with client:
                    if is_lasting:
                        shown.close()
                    ended = client.records.moves.own_end()
                    return await work(client), client.records.people, ended

        done, people, ended = run_until_ended(connect_and_work())
        for fault in (people.fault, ended):
            if fault is not None:  # the present call is none the worse for it
                self.screen.warn(str(fault), fault.hint)
        return done
