"""A node's own side of a closed network: whose network it is, what it shows there, and what to do when that ends.

PROTOCOL.md section 12. Whose it is comes from `--invite-only`, else from the link of `--join`, else from the membership in
its data folder: a node that has joined a closed network stays closed, whatever it is started with. Renews nothing: a
membership that has ended is for its issuer to give again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from yzdht.config import OwnKey
from yzdht.crypto.invite import Office, check_membership
from yzdht.crypto.naming import node_id_of
from yzdht.errors import InviteRefused, WireError
from yzdht.ids import shorten
from yzdht.sessions.membership import ClosedNetwork
from yzdht.sessions.world import Papers
from yzdht.store import memberships
from yzdht.wire.text import encode_public_key
from yzdht.wire.token import TokenType, encode_token


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.config import NodeConfig
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import PublicKey
    from yzdht.wire.token import Token


log = logging.getLogger(__name__)

_JOIN_HINT = (
    "ask whoever has the key {issuer} for an invite; start this node once with --join LINK, or, where a person has that "
    "key, stop it, run yz join LINK --data DIR, and start it again"
)


class Lack(NamedTuple):
    """Why the members of its network do not serve this node.

    Attributes:
        what: For people.
        hint: What to do about it.

    """

    what: str
    hint: str


class OwnMembership:
    """What one node is to a closed network, or that its network is open.

    Args:
        identity: The node's.
        config: What it was told.
        folder: Where memberships are kept; None for a node that keeps nothing.

    Attributes:
        closed: The network; None for an open one.
        papers: What this node shows.

    Raises:
        StoreError: The folder cannot be read, or the membership is damaged.

    """

    def __init__(self, identity: IdentityKeys, config: NodeConfig, folder: Path | None) -> None:
        self._identity = identity
        self._network = config.network_id
        self._folder = folder
        self._token = None if folder is None else memberships.read(folder, self._network)
        issuer = self._issuer(config)
        self.closed = None if issuer is None else ClosedNetwork(self._network, issuer)
        if self._token is not None and self._token.issuer != issuer:
            self._token = None  # of the network that this one was before; its file stays
        self.papers = Papers(membership=None if self._token is None else encode_token(self._token))
        self._told: Lack | None = None
        if issuer is not None:
            log.info("closed network issuer=%s own=%s", shorten(node_id_of(issuer)), self.is_issuer)

    def _issuer(self, config: NodeConfig) -> PublicKey | None:
        if config.invite_only is OwnKey.SELF:
            return self._identity.public_key
        if config.invite_only is not None:
            return config.invite_only
        if config.join is not None:
            return config.join.token.issuer
        return None if self._token is None else self._token.issuer

    @property
    def is_issuer(self) -> bool:
        """True for the node whose own key closes the network."""
        return self.closed is not None and self.closed.issuer == self._identity.public_key

    def lack(self, wall_now: float) -> Lack | None:
        """Why this node is no member now; None if it is one, or its network is open."""
        closed = self.closed
        if closed is None or self.is_issuer:
            return None
        hint = _JOIN_HINT.format(issuer=encode_public_key(closed.issuer))
        if self._token is None:
            return Lack("this node is no member of its closed network", hint)
        office = Office(self._network, closed.issuer, TokenType.NETWORK)
        try:
            check_membership(self._token, office, self._identity.node_id, closed.revoked, wall_now)
        except (InviteRefused, WireError) as error:
            return Lack(f"the membership of this node does not count any more: {error}", hint)
        return None

    def news(self, wall_now: float) -> Lack | None:
        """The same, once for each change."""
        lack = self.lack(wall_now)
        is_new, self._told = lack != self._told, lack
        if lack is None or not is_new:
            return None
        log.warning("no membership reason=%s hint=%s", *lack)
        return lack

    def accept(self, membership: Token) -> None:
        """Show a membership from now on, and after a restart.

        Raises:
            StoreError: It cannot be kept.

        """
        self._token = membership
        self.papers.membership = encode_token(membership)
        if self._folder is not None:
            memberships.keep(self._folder, self._network, membership)
