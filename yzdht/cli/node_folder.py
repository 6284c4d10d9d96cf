"""The data folder of a node, where a command works beside the node: with its key, on its ledger, for its membership."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.passphrase import opened
from yzdht.errors import DataLocked, StoreError, UsageError


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from yzdht.cli.settings import Settings
    from yzdht.store.keyfile import Identity
    from yzdht.wire.token import Token


KEY_NAME = "node.key"


def refuse_no_node(folder: Path) -> None:
    """A path after --data that leads to no node is mistyped.

    Raises:
        UsageError: It does.

    """
    if not os.path.lexists(folder / KEY_NAME):
        raise UsageError(f"{folder} is no data folder of a node", hint="name the one that the node has")


def node_identity(folder: Path, passphrase: str | None) -> Identity:
    """The identity of a node, which may be running; prompts for its passphrase if it has to.

    Raises:
        StoreError: It cannot be read.
        WrongPassphrase: It does not open.

    """
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - loads the cryptography

    path = folder / KEY_NAME
    return opened(lambda p: Identity.load(path, p), passphrase, f"passphrase of {path}: ")


class HeldNode(NamedTuple):
    """A node that does not run while a command has its folder.

    Attributes:
        identity: Its own.
        folder: Its data folder.

    """

    identity: Identity
    folder: Path

    def keep(self, settings: Settings, membership: Token) -> None:
        """Make it a member from its next start on.

        Raises:
            StoreError: The membership cannot be kept.

        """
        from yzdht.crypto.naming import network_id  # noqa: PLC0415 - loads the library
        from yzdht.store.memberships import keep  # noqa: PLC0415 - as above

        keep(self.folder, network_id(settings.network), membership)

    def how_to_start(self, settings: Settings) -> str:
        """What to type, for people."""
        network = () if settings.network == "main" else ("--network", settings.network)
        bootstrap = (word for url in settings.nodes for word in ("--bootstrap", url))
        return shlex.join(("yz-node", "--data", str(self.folder), *network, *bootstrap))


@contextmanager
def held_node(folder: Path, passphrase: str | None) -> Iterator[HeldNode]:
    """Hold a data folder, so that its node cannot start meanwhile; one that is not there is made, with a new key.

    Args:
        folder: Which.
        passphrase: Of the node's key; None prompts for it if there has to be one.

    Raises:
        DataLocked: Its node runs.
        StoreError: It is somebody else's, cannot be used, or is no data folder.
        WrongPassphrase: The node's key does not open.

    """
    from yzdht.cli.local_node import foreign_owner  # noqa: PLC0415 - loads the library
    from yzdht.store.folder import DataFolder  # noqa: PLC0415 - as above
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - as above

    folder = folder.absolute()
    owner = foreign_owner(folder)
    if owner is not None:
        raise StoreError(
            f"{folder} belongs to {owner}",
            hint=f"to join, run this as {owner}; to admit their node, name a new folder, and give it to them with chown -R",
        )
    try:
        data = DataFolder.open(folder)
    except DataLocked as error:
        error.hint = "stop the node first, and start it again afterwards"
        raise
    with data:
        path = data.key_path
        identity = opened(
            lambda p: Identity.load_or_create(path, passphrase=p),
            passphrase,
            f"passphrase of {path}: ",
        )
        yield HeldNode(identity, folder)
