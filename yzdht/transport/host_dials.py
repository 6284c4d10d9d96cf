"""One host dialled at each of the addresses of its name, each a little after the one before: happy eyeballs (RFC 8305).

IPv6 and IPv4 take turns, in the order that the system prefers, and one that swallows packets costs ADDRESS_STAGGER_S.
An address that has taken the connection is given time for TLS and HTTP before the next is begun, since that is most
likely slow and not dead. One of them becomes a link; the others are closed before anybody was told of them. What comes of
that link is seen by who dialled, and dials again without that address.
"""

from __future__ import annotations

import asyncio
import ssl
from itertools import chain, zip_longest
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from yzdht.errors import DialFailed, NoOtherAddress
from yzdht.limits import ADDRESS_STAGGER_S, HANDSHAKE_PATIENCE_S, HOSTS_AT_ONCE_MAX, HOSTS_PER_NAME_MAX
from yzdht.staggered import UNTIL_ANOTHER_ENDS, Staggered
from yzdht.transport.sockets import explain_dial, resolve


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence


class CanAbort(Protocol):
    """As much of a link as matters here."""

    def abort(self) -> None:
        """Close it at once."""
        ...


_Link = TypeVar("_Link", bound=CanAbort)
_Failure = OSError | UnicodeError | DialFailed


class Dialled(NamedTuple):
    """What is dialled.

    Attributes:
        url: As it was named; for errors.
        host: A name, or an address.
        port: 1 to 65535.
        hosts: IP addresses that the name leads to; empty where that was not looked up.
        avoid: Those among them that are left out.

    """

    url: str
    host: str
    port: int
    hosts: Sequence[str] = ()
    avoid: Collection[str] = ()


class Tries:
    """What the tries of one host tell each other.

    Args:
        patience_s: Seconds that an address has, once it is connected, before the next is begun.

    """

    def __init__(self, patience_s: float = 0.0) -> None:
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._connected_at: dict[str, float] = {}
        self._is_claimed = False

    def connected(self, address: str) -> None:
        """A connection there is open; what opens a link on it follows."""
        self._connected_at[address] = self._loop.time()

    def claim(self) -> bool:
        """Take the host for a link that is ready: True for the first, False for all others, who close theirs."""
        was_claimed, self._is_claimed = self._is_claimed, True
        return not was_claimed

    def ended(self, address: str) -> None:
        """A try is over."""
        self._connected_at.pop(address, None)

    def wait_s(self, _address: str) -> float:
        """How long one must wait that could be begun now."""
        if self._is_claimed:
            return UNTIL_ANOTHER_ENDS
        if not self._connected_at:
            return 0.0
        return max(0.0, max(self._connected_at.values()) + self._patience_s - self._loop.time())


async def dial_each(
    dialled: Dialled, timeout_s: float, dial: Callable[[str, Tries], Awaitable[_Link]]
) -> _Link:
    """Try the addresses of a host, HOSTS_PER_NAME_MAX of them and HOSTS_AT_ONCE_MAX at once; what the first opens.

    Args:
        dialled: What is dialled.
        timeout_s: Seconds for everything, the look-up of a name included.
        dial: Opens a link to one address; asks `claim` before anybody is told of it, and raises OSError where it says
            no. It is cancelled when another was faster.

    Raises:
        NoOtherAddress: All are left out.
        DialFailed: As `dial` does for the failure that says most; or there is none, or it took too long.

    """
    loop = asyncio.get_running_loop()
    failures: list[_Failure] = []
    try:
        async with asyncio.timeout(timeout_s):
            deadline = loop.time() + timeout_s
            found = dialled.hosts or await resolve(dialled.host, dialled.port)
            addresses = [a for a in in_turn(found) if a not in dialled.avoid][:HOSTS_PER_NAME_MAX]
            if not addresses:
                raise NoOtherAddress(f"{dialled.url}: its name leads nowhere else")
            if len(addresses) == 1:
                return await dial(addresses[0], Tries())
            link = await _dial_several(addresses, deadline - loop.time(), dial, failures)
            if link is not None:
                return link
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
        failures.append(error)
    told = min(failures, key=_rank)
    if isinstance(told, DialFailed):
        raise told
    raise explain_dial(dialled.url, told) from told


def _rank(failure: _Failure) -> int:
    """How much a failure says of a host that has several addresses: the smaller, the more."""
    match failure:
        case DialFailed() | ssl.SSLError():
            return 0  # somebody answered, and not as a node does
        case ConnectionAbortedError():
            return 4  # another address had been faster
        case ConnectionError():
            return 1  # the machine is there
        case TimeoutError():
            return 2
        case _:
            return 3  # perhaps this machine cannot dial that kind at all


async def _dial_several(
    addresses: list[str],
    timeout_s: float,
    dial: Callable[[str, Tries], Awaitable[_Link]],
    failures: list[_Failure],
) -> _Link | None:
    """The first link, within a time in which all have theirs, also if none says a word; None with all the failures."""
    share_s = timeout_s / ceil(len(addresses) / HOSTS_AT_ONCE_MAX)
    tries = Tries(min(HANDSHAKE_PATIENCE_S, timeout_s / len(addresses)))

    async def attempt(address: str) -> _Link | None:
        try:
            async with asyncio.timeout(share_s):
                return await dial(address, tries)
        except (OSError, DialFailed) as error:
            failures.append(error)
            return None
        finally:
            tries.ended(address)

    staggered = Staggered(
        addresses,
        attempt,
        gap_s=ADDRESS_STAGGER_S,
        at_once_max=HOSTS_AT_ONCE_MAX,
        wait_s=tries.wait_s,
        discard=lambda link: link.abort(),
    )
    return await staggered.first()


def in_turn(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 in turn, beginning with the kind of the first; else in their order (RFC 8305 section 4)."""
    first = [a for a in addresses if (":" in a) == (":" in addresses[0])]
    other = [a for a in addresses if a not in first]
    return [a for a in chain.from_iterable(zip_longest(first, other)) if a is not None]
