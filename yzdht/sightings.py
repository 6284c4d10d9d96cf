"""Where peers see a node, round after round; what enough of them say is told to others (PROTOCOL.md section 6).

Pure. A peer can name any address, so one counts only with more voices than all others of its kind: two for where the node
was before, more for a new place as long as there is anybody else to ask. What was agreed on stays for hours if a round finds
no agreement: neither one liar nor an hour in which nobody answers takes a good address away.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from typing import TYPE_CHECKING

from yzdht.limits import PROBERS_AGREEING, PROBERS_DENYING, REACH_KEPT_S
from yzdht.wire.address import scope_of


if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


_LEAD = 2
"""Voices by which a place must be ahead before nobody else need be asked: one liar must not be able to tie."""


class Sightings:
    """Those of one node."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}  # in this round, by the groups of those who said it
        self._agreed: dict[str, float] = {}  # hosts, and when somebody said so last

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where the node is, IPv4 before IPv6."""
        return tuple(sorted(self._agreed, key=lambda host: (":" in host, host)))

    def begin(self) -> None:
        """Forget what an unfinished round heard."""
        self._said = {}

    def saw(self, group: str, host: str) -> None:
        """Somebody says where he sees the node; what is no IP address that may be told is left out."""
        if scope_of(host) is not None:
            self._said.setdefault(group, str(ip_address(host)))

    def are_enough(self, *, is_ipv6: bool) -> bool:
        """Whether nobody else need be asked over one version of IP; true if nobody said anything."""
        votes = [count for (is_six, _), count in self._votes().items() if is_six is is_ipv6]
        return not votes or any(map(self._is_clear, votes))

    def settle(self, mono: float, may_be: Callable[[str], bool]) -> None:
        """End the round.

        Args:
            mono: The present, monotonic seconds.
            may_be: Whether the node may be at an IP address.

        """
        for kind, votes in self._votes().items():
            [(first, count), *_] = votes.most_common(1)
            if count >= PROBERS_AGREEING and 2 * count > votes.total():
                gone = [host for host in self._agreed if _kind_of(host) == kind and host != first]
                for host in gone:
                    del self._agreed[host]
                self._agreed[first] = mono
            else:
                self._agreed |= {host: mono for host in votes if host in self._agreed}
        self._agreed = {
            host: at for host, at in self._agreed.items() if mono - at <= REACH_KEPT_S and may_be(host)
        }
        self._said = {}

    def _votes(self) -> dict[tuple[bool, Hashable], Counter[str]]:
        """Of each kind: who sits in the same private network sees another address than the internet, and both are right."""
        found: dict[tuple[bool, Hashable], Counter[str]] = {}
        for host in self._said.values():
            found.setdefault(_kind_of(host), Counter())[host] += 1
        return found

    def _is_clear(self, votes: Counter[str]) -> bool:
        [(first, count), *_] = votes.most_common(1)
        needed = PROBERS_AGREEING if first in self._agreed else PROBERS_DENYING
        return count >= needed and 2 * count - votes.total() >= _LEAD


def _kind_of(host: str) -> tuple[bool, Hashable]:
    return ":" in host, scope_of(host)
