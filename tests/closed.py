"""A closed network of real nodes, for tests: its issuer's node, invites, members, revocations."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from yzdht import Identity, Node
from yzdht.crypto.invite import Bearer, Named, Terms, issue, issue_membership
from yzdht.crypto.invite_ledger import row_of
from yzdht.crypto.naming import mutable_target, network_id, revoked_tag
from yzdht.crypto.sealing import Author, Public, seal_record
from yzdht.ids import TokenId
from yzdht.kad.write import Draft
from yzdht.store import memberships
from yzdht.store.folder import DataFolder
from yzdht.wire.address import Contact
from yzdht.wire.invite_link import encode_invite_link
from yzdht.wire.record import RecordDraft
from yzdht.wire.revocation import encode_revoked
from yzdht.wire.slot import Kind
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from tests.sessions.kit import Time
    from yzdht.ids import PublicKey
    from yzdht.wire.token import Token


HOST = "127.0.0.1"
NET = network_id("main")
DAY_S = 86_400


def url_of(node: Node) -> str:
    return f"ws://{HOST}:{node.port}"


class Club:
    """One closed network; its nodes end with the stack.

    Args:
        clock: Of all nodes.
        folder: Where their data folders are.
        stack: Ends them.

    """

    def __init__(self, clock: Time, folder: Path, stack: AsyncExitStack) -> None:
        self.clock = clock
        self.folder = folder
        self._stack = stack
        self._revoked: list[TokenId] = []
        self.issuer: Node

    async def found(self) -> None:
        """Start the issuer's node, whose own key closes the network."""
        path = self.folder / "issuer"
        with DataFolder.open(path) as folder:
            self.identity = Identity.load_or_create(folder.key_path)
        self.issuer = await self.start("issuer", bootstrap=[], invite_only="self")

    @property
    def key(self) -> PublicKey:
        return self.identity.public_key

    def node(self, name: str, **options: object) -> Node:
        options = {"invite_only": self.key, **options}
        if "bootstrap" not in options:
            options["bootstrap"] = [url_of(self.issuer)]
        return Node(0, host=HOST, allow_private=True, clock=self.clock, data=self.folder / name, **options)  # type: ignore[arg-type] # handed on as they are

    async def start(self, name: str, **options: object) -> Node:
        return await self._stack.enter_async_context(self.node(name, **options))

    async def join(self, name: str, link: str) -> Node:
        return await self.start(name, join=link, invite_only=None)

    def invite(self, uses: int = 1, life_s: int = DAY_S, invitee: Named | None = None) -> str:
        now = int(self.clock.now().wall)
        secret = secrets.token_bytes(16)
        terms = Terms(TokenType.NETWORK, now, now + life_s, uses)
        token_id = TokenId(secrets.token_bytes(16))
        token = issue(self.identity.signer, NET, terms, token_id, invitee or Bearer(secret))
        ledger = self.issuer._belonging._ledger
        assert ledger is not None
        ledger.add(row_of(token, now))
        return encode_invite_link(token, secret if invitee is None else None)

    async def member(self, name: str, life_s: int = DAY_S) -> Node:
        """A node whose membership is in its folder already."""
        path = self.folder / name
        with DataFolder.open(path) as folder:
            identity = Identity.load_or_create(folder.key_path)
        memberships.keep(path, NET, self.membership_for(identity, life_s))
        return await self.start(name)

    def membership_for(self, identity: Identity, life_s: int = DAY_S) -> Token:
        now = int(self.clock.now().wall)
        invite_id = TokenId(secrets.token_bytes(16))
        times = (now, now + life_s)
        return issue_membership(self.identity.signer, NET, invite_id, identity.node_id, times)

    def membership_of(self, name: str) -> TokenId:
        token = memberships.read(self.folder / name, NET)
        assert token is not None
        return token.id

    async def revoke(self, *token_ids: TokenId) -> None:
        """Publish the revocation list, and these in it."""
        self._revoked += token_ids
        now = int(self.clock.now().wall)
        tag = revoked_tag(NET)
        draft = RecordDraft(Kind.MUTABLE, now, now + 30 * DAY_S, now * 1_000 + len(self._revoked), tag)
        author = Author(self.identity.signer, bytes(32), NET)
        record = seal_record(draft, encode_revoked(self._revoked), Public(), author, b"")
        done = await self.issuer._pump.put(Draft(mutable_target(NET, self.key, tag), record))
        assert done.accepted >= done.needed

    @staticmethod
    def contact(node: Node) -> Contact:
        own = node.identity
        return Contact(own.node_id, own.public_key, (url_of(node),), node.engine._own.contact.caps)
