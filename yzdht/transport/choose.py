"""At which of a peer's addresses to dial it, in which order, and how long after each other (PROTOCOL.md section 6).

Pure. Cheapest set-up first, IPv4 and IPv6 in turn as in RFC 8305; what worked last goes first, what failed lately last.
Only a cheaper protocol at the very host and port that worked goes before it, until that has been tried.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import UsageError
from yzdht.limits import (
    ADDRESS_FAILED_S,
    ADDRESS_STAGGER_S,
    ADDRESSES_MAX,
    CONTACT_URLS_MAX,
    CONTACTS_HEARD_MAX,
)
from yzdht.wire.address import ClientType, is_loopback, is_public, parse_url


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from yzdht.ids import NodeId
    from yzdht.wire.address import Url


_COST: Mapping[ClientType, Mapping[str, int]] = {
    ClientType.PYTHON: {"tcp": 0, "ws": 1, "wss": 2},
    ClientType.NODEJS: {"tcp": 0, "ws": 1, "wss": 2},
    ClientType.BROWSER: {"wss": 0},  # a page opens no TCP, and an https page no ws
}
"""By round trips until a session stands: 1 and the handshake's, one more for HTTP, two more for TLS."""
_COST_OTHER = 3
"""Of a protocol that this process speaks and the table does not know."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the end that dials is and can do.

    Attributes:
        client_type: What it is.
        protocols: What it speaks: the schemes of its transports.
        has_ipv4: It has an IPv4 address to dial from, other than loopback.
        has_ipv6: The same of IPv6.

    """

    client_type: ClientType
    protocols: frozenset[str]
    has_ipv4: bool = True
    has_ipv6: bool = True


@dataclass(frozen=True, slots=True)
class Past:
    """What became of earlier dials of one peer.

    Attributes:
        worked: The address that worked last.
        failed: When an address failed that has not worked since, monotonic seconds.

    """

    worked: str | None = None
    failed: Mapping[str, float] = field(default_factory=dict)

    def has_failed_lately(self, url: str, mono: float) -> bool:
        """True within ADDRESS_FAILED_S of a failure."""
        failed_at = self.failed.get(url)
        return failed_at is not None and mono - failed_at < ADDRESS_FAILED_S


class Start(NamedTuple):
    """An address to dial.

    Attributes:
        url: As it was given.
        delay_s: How long after the first dial to begin, if none has succeeded by then.

    """

    url: str
    delay_s: float


class _Candidate(NamedTuple):
    url: str
    cost: int
    parsed: Url | None  # None for an address of a transport within this process

    @property
    def family(self) -> int | None:
        """4 or 6; None for a name, which may lead to either."""
        ip = self.parsed.ip if self.parsed is not None else None
        return None if ip is None else ip.version

    @property
    def nearness(self) -> int:
        """0 on this machine, 1 in a private network that both ends are in, 2 elsewhere."""
        host = self.parsed.host if self.parsed is not None else ""
        if is_loopback(host):
            return 0
        return 2 if self.family is None or is_public(host) else 1

    def is_beside(self, other: _Candidate) -> bool:
        """Whether it is the same host and port."""
        if self.parsed is None or other.parsed is None:
            return self.url == other.url
        return (self.parsed.host, self.parsed.port) == (other.parsed.host, other.parsed.port)

    def is_within(self, means: Means) -> bool:
        """Whether the dialling end has an address of its family."""
        if self.nearness == 0:
            return True
        return {4: means.has_ipv4, 6: means.has_ipv6}.get(self.family or 0, True)


def choose(
    means: Means,
    urls: Sequence[str],
    past: Past,
    mono: float,
    *,
    has_session: bool = False,
    may_dial: Callable[[str], bool] | None = None,
) -> tuple[Start, ...]:
    """Which addresses of a peer to dial, and when; at most CONTACT_URLS_MAX.

    Whoever runs it begins with the first, goes on to the next when its delay is over or all before it have failed, and
    keeps the first whose handshake completes.

    Args:
        means: What the dialling end is and can do; what it cannot speak is left out.
        urls: The peer's addresses, as published or heard; of otherwise equal ones the earlier goes first.
        past: What became of earlier dials.
        mono: The present, monotonic seconds.
        has_session: There is a session with the peer: nothing is dialled.
        may_dial: Whether the scope rule lets an address be dialled, as far as that can be said before its name is
            looked up. None: all may.

    """
    if has_session:
        return ()
    found = dict.fromkeys(urls)
    fit = [
        c
        for url in found
        if (c := _candidate(url, means)) is not None and (may_dial is None or may_dial(url))
    ]
    ranked = sorted(fit, key=lambda c: (c.cost, c.nearness, -(c.family or 0)))
    late = [c for c in ranked if not c.is_within(means) or past.has_failed_lately(c.url, mono)]
    late.sort(key=lambda c: past.failed.get(c.url, 0.0))
    fresh = _alternating([c for c in ranked if c not in late])
    if (worked := next((c for c in fresh if c.url == past.worked), None)) is not None:
        fresh.sort(key=lambda c: not (c.cost <= worked.cost and c.is_beside(worked)))
    chosen = [*fresh, *late][:CONTACT_URLS_MAX]
    return tuple(Start(c.url, number * ADDRESS_STAGGER_S) for number, c in enumerate(chosen))


def _candidate(url: str, means: Means) -> _Candidate | None:
    """None for what this end cannot open."""
    protocol = url.partition(":")[0].lower()
    costs = _COST[means.client_type]
    is_known = any(protocol in of for of in _COST.values())
    if protocol not in means.protocols or (is_known and protocol not in costs):
        return None
    try:
        return _Candidate(url, costs.get(protocol, _COST_OTHER), parse_url(url) if is_known else None)
    except UsageError:
        return None


def _alternating(ranked: list[_Candidate]) -> list[_Candidate]:
    """IPv4 and IPv6 in turn, for one of them may lead nowhere (RFC 8305 section 4); else in their order."""
    left, order, last = list(ranked), [], None
    while left:
        other = {4: 6, 6: 4}.get(last or 0)
        following = next((c for c in left if other is not None and c.family == other), left[0])
        left.remove(following)
        order.append(following)
        last = following.family or last
    return order


class History:
    """What became of dials, by peer; of CONTACTS_HEARD_MAX of them, and ADDRESSES_MAX addresses each."""

    def __init__(self) -> None:
        self._pasts: OrderedDict[NodeId, Past] = OrderedDict()

    def of(self, node_id: NodeId, worked: str | None = None) -> Past:
        """Of one peer; `worked` is what others remember to have worked, if this does not know better."""
        past = self._pasts.get(node_id, _UNKNOWN)
        return (
            past if past.worked or worked is None or worked in past.failed else replace(past, worked=worked)
        )

    def worked(self, node_id: NodeId, url: str) -> None:
        """A session came of a dial."""
        failed = self.of(node_id).failed
        self._keep(node_id, Past(url, {u: at for u, at in failed.items() if u != url}))

    def failed(self, node_id: NodeId, url: str, mono: float) -> None:
        """None did."""
        past = self.of(node_id)
        failed = {u: at for u, at in past.failed.items() if u != url}
        failed[url] = mono
        while len(failed) > ADDRESSES_MAX:
            del failed[next(iter(failed))]
        self._keep(node_id, Past(None if past.worked == url else past.worked, failed))

    def _keep(self, node_id: NodeId, past: Past) -> None:
        self._pasts[node_id] = past
        self._pasts.move_to_end(node_id)
        if len(self._pasts) > CONTACTS_HEARD_MAX:
            self._pasts.popitem(last=False)


_UNKNOWN = Past()
