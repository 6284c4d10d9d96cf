"""When a peer may be dialled again, and at which of its addresses (PROTOCOL.md section 6).

An address heard from others was judged where it was heard; a name among them is resolved here, and only public
addresses behind it are dialled, unless private ones are allowed. What an operator typed is always dialled.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import DialFailed, DialledTooOften, UsageError
from yzdht.limits import (
    CONTACTS_HEARD_MAX,
    DIAL_FAIR_S,
    DIAL_PAUSE_S_MAX,
    DIAL_PAUSE_S_MIN,
    DIAL_PAUSE_S_TYPED,
    DIAL_TIMEOUT_S,
    DIAL_TURN_S_MAX,
    DIALS_BURST_S,
    DIALS_PER_ADDRESS_BURST,
    DIALS_PER_ADDRESS_PER_S,
    DIALS_PER_HOST_BURST,
    DIALS_PER_HOST_PER_S,
    HOSTS_PER_NAME_MAX,
    MUTE_ADDRESS_S,
    MUTE_ADDRESSES_MAX,
    PREFIXES_TRACKED_MAX,
    SESSION_SPARE_AFTER_S,
    TURNED_AWAY_MAX,
    TURNED_AWAY_S_MAX,
    TURNED_AWAY_S_MIN,
    TYPED_URLS_MAX,
)
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.rpc.engine import NOT_INVITED, PARTED, FailReason
from yzdht.transport.names import TooManyNames, is_resolver_mute, look_up
from yzdht.wire.address import is_public, may_dial, parse_url, scope_of


if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from yzdht.ids import NodeId
    from yzdht.rpc.session import Ended
    from yzdht.sessions.clock import Clock
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body, Method


_PER_HOST = Rate(DIALS_PER_HOST_PER_S, DIALS_PER_HOST_BURST)
_NEVER = (float("-inf"), 0)
_PER_ADDRESS = Rate(DIALS_PER_ADDRESS_PER_S, DIALS_PER_ADDRESS_BURST)


class WaitingCall(NamedTuple):
    """A call that waits for its peer to be reached."""

    method: Method
    body: Body
    timeout_s: float
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class Dial:
    """A contact that is being dialled, or will be in its turn, and the calls that wait for it."""

    waiting: dict[int, WaitingCall] = field(default_factory=dict)
    begun_at: float | None = None

    def why_late(self, mono: float) -> FailReason:
        """Why a call has no answer whose time is up: the peer is to blame if it had some of that time."""
        has_had_time = self.begun_at is not None and mono - self.begun_at >= DIAL_FAIR_S
        return FailReason.TIMEOUT if has_had_time else FailReason.BUSY

    def take_all(self) -> list[tuple[int, WaitingCall]]:
        """Everything that waits, in order; empties it and stops its timers."""
        taken = list(self.waiting.items())
        self.waiting.clear()
        for _, waiting in taken:
            waiting.timer.cancel()
        return taken


class Pauses:
    """How long a node that could not be reached, or had no place, is left alone; doubles with each failure.

    One that has no place is as live as others, and nothing is known against it, until it has had none for
    TURNED_AWAY_MAX times in a row: whoever serves nobody is as good as gone. It is left alone for so long then that all
    probes of the table miss it. So is one whose closed network asks for an invite: it will ask for one in a minute, too.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[NodeId, tuple[float, float]] = OrderedDict()
        self._turned_away: OrderedDict[NodeId, tuple[float, int]] = OrderedDict()
        self._uninvited: OrderedDict[NodeId, float] = OrderedDict()

    def why(self, node_id: NodeId, mono: float) -> FailReason | None:
        """Why it must not be dialled now: BUSY where it is not to blame; None if it may be."""
        if mono < self._uninvited.get(node_id, _NEVER[0]):
            return FailReason.UNINVITED
        until, _ = self._until.get(node_id, _NEVER)
        away_until, times = self._turned_away.get(node_id, _NEVER)
        if mono < until or (mono < away_until and times >= TURNED_AWAY_MAX):
            return FailReason.UNREACHABLE
        return FailReason.BUSY if mono < away_until else None

    def ended(self, connection: Connection, event: Ended, mono: float, *, is_typed: bool = False) -> bool:
        """A session ended; True if who was dialled had no place for it, or not for long. `is_typed` as in `failed`."""
        node_id = connection.node_id
        if node_id is None or connection.opened_at is None:
            return False
        if event.reason == NOT_INVITED and connection.is_initiator:
            self._uninvited[node_id] = mono + (DIAL_PAUSE_S_TYPED if is_typed else DIAL_PAUSE_S_MAX)
            self._uninvited.move_to_end(node_id)
            if len(self._uninvited) > CONTACTS_HEARD_MAX:
                self._uninvited.popitem(last=False)
        elif connection.is_answered or mono - connection.opened_at >= SESSION_SPARE_AFTER_S:
            self._turned_away.pop(node_id, None)
        elif connection.is_initiator and event.reason == PARTED and not connection.has_parted:
            self._turn_away(node_id, mono, is_typed=is_typed)
            return True
        return False

    def _turn_away(self, node_id: NodeId, mono: float, *, is_typed: bool) -> None:
        until, times = self._turned_away.pop(node_id, _NEVER)
        times = 1 if mono > until + DIAL_PAUSE_S_MAX else min(times + 1, TURNED_AWAY_MAX)
        longest_s = DIAL_PAUSE_S_TYPED if is_typed else TURNED_AWAY_S_MAX
        pause_s = min(TURNED_AWAY_S_MIN * 2 ** (times - 1), longest_s)
        if times >= TURNED_AWAY_MAX and not is_typed:
            pause_s = DIAL_PAUSE_S_MAX
        self._turned_away[node_id] = (mono + pause_s, times)
        if len(self._turned_away) > CONTACTS_HEARD_MAX:
            self._turned_away.popitem(last=False)

    def failed(self, node_id: NodeId, mono: float, *, is_typed: bool = False) -> None:
        """A dial failed; somebody waits for a node whose address was typed, so its pauses stay short."""
        longest_s = DIAL_PAUSE_S_TYPED if is_typed else DIAL_PAUSE_S_MAX
        _, pause_s = self._until.get(node_id, (0.0, DIAL_PAUSE_S_MIN / 2))
        pause_s = min(2 * pause_s, longest_s)
        self._until[node_id] = (mono + pause_s, pause_s)
        self._until.move_to_end(node_id)
        if len(self._until) > CONTACTS_HEARD_MAX:
            self._until.popitem(last=False)

    def succeeded(self, node_id: NodeId) -> None:
        """It was reached."""
        self._until.pop(node_id, None)


class DialPace:
    """Spreads dials, so that a home router keeps up: a burst at once, then so many a second, each in its turn.

    Args:
        per_s: On average; None for no bound.

    """

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._next_at = float("-inf")  # when the next would begin if there were no burst

    def turn(self, mono: float) -> float | None:
        """Reserve a turn; the seconds until it comes, or None if it is too far off and none was reserved."""
        if self._per_s is None:
            return 0.0
        next_at = max(self._next_at, mono - max(0.0, DIALS_BURST_S - 1 / self._per_s))
        wait_s = max(0.0, next_at - mono)
        if wait_s > DIAL_TURN_S_MAX:
            return None
        self._next_at = next_at + 1 / self._per_s
        return wait_s

    def give_back(self) -> None:
        """Nobody wants a turn any more that was reserved."""
        if self._per_s is not None:
            self._next_at -= 1 / self._per_s


class AddressPace:
    """How often an address that others named is dialled, whoever is said to be there.

    Without it one answer that names twenty made-up nodes at a stranger's address would have this node, and every other
    that hears of them, open connections to that stranger.
    """

    def __init__(self) -> None:
        self._buckets = Buckets(PREFIXES_TRACKED_MAX)

    def check(self, url: str, mono: float, hosts: Sequence[str] = ()) -> None:
        """Count a dial, unless it must not be made.

        Many nodes may have their names at one address, where a proxy tells them apart: names are counted one by one,
        and where they lead in the bound of that host.

        Args:
            url: What is dialled.
            mono: The present, monotonic seconds.
            hosts: IP addresses that its name leads to; its host itself where that was not looked up.

        Raises:
            DialledTooOften: The address, or its host, was dialled too often lately.

        """
        try:
            parsed = parse_url(url)
        except UsageError:
            return  # of a transport within this process
        counted: list[tuple[Hashable, Rate, str]] = [
            (host, _PER_HOST, f"host {host}") for host in hosts or (parsed.host,)
        ]
        counted.append(((parsed.host, parsed.port), _PER_ADDRESS, f"address {parsed.text}"))
        for number, (key, rate, what) in enumerate(counted):
            if self._buckets.take(key, 1, rate, mono) > 0:
                for taken, *_ in counted[:number]:
                    self._buckets.put_back(taken, 1)
                raise DialledTooOften(f"the {what} was dialled too often lately")


class MuteAddresses:
    """IP addresses that took a connection for a name, and of which no session came: the others of that name go first for a while."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()  # by url and IP, the oldest first

    def note(self, url: str, ip: str, mono: float) -> None:
        """No session came of a link there."""
        self._until[url, ip] = mono + MUTE_ADDRESS_S
        self._until.move_to_end((url, ip))
        if len(self._until) > MUTE_ADDRESSES_MAX:
            self._until.popitem(last=False)

    def of(self, url: str, mono: float) -> frozenset[str]:
        """Where a url's name need not be tried first."""
        while self._until and next(iter(self._until.values())) <= mono:
            self._until.popitem(last=False)
        return frozenset(ip for of, ip in self._until if of == url)


class Addresses:
    """Which address of a peer is dialled, and where a name among them may lead.

    Args:
        clock: The present.
        is_private_allowed: `--allow-private`.

    """

    def __init__(self, clock: Clock, *, is_private_allowed: bool) -> None:
        self._typed: OrderedDict[str, None] = OrderedDict()
        self._clock = clock
        self._is_private_allowed = is_private_allowed
        self._pace = AddressPace()

    def note_typed(self, url: str) -> None:
        """An operator typed it: it is always dialled."""
        self._typed[url] = None
        self._typed.move_to_end(url)
        if len(self._typed) > TYPED_URLS_MAX:
            self._typed.popitem(last=False)

    def is_typed(self, *urls: str) -> bool:
        """Whether an operator typed one of them."""
        return any(url in self._typed for url in urls)

    async def check(self, url: str) -> list[str]:
        """Judge an address before it is dialled; what was heard is dialled seldom enough to be no weapon.

        Returns:
            Where its name leads, to be dialled there and nowhere else: whoever owns the name could have it lead to others
            a moment later. Empty where that was not looked up.

        Raises:
            DialFailed: As `resolve`; DialledTooOften where it was dialled lately, too.

        """
        if self.is_typed(url):
            return []
        hosts = await resolve(url, is_private_allowed=self._is_private_allowed)
        self._pace.check(url, self._clock.now().mono, () if self._is_private_allowed else hosts)
        return hosts

    def may_dial(self, url: str) -> bool:
        """Whether an address may be dialled at all; one that was heard was judged by who named it where it was heard."""
        if self._is_private_allowed or self.is_typed(url):
            return True
        try:
            parsed = parse_url(url)
        except UsageError:
            return False
        return parsed.ip is None or scope_of(parsed.host) is not None


async def resolve(url: str, *, is_private_allowed: bool) -> list[str]:
    """The IP addresses behind a url that was heard from others; none where nothing has to be looked up.

    They are what is dialled: a second look-up could have another answer, and would take a place of the operator's names.

    Raises:
        DialFailed: The name does not resolve, or to addresses that may not be dialled on hearsay.
        DialledTooOften: It was not looked up, since too many are.

    """
    try:
        parsed = parse_url(url)
    except UsageError as error:
        if is_private_allowed:
            return []  # whatever it is: a transport of this process's own may speak it
        raise DialFailed(str(error)) from None
    if parsed.ip is not None:
        return []
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):  # a slow name keeps its dial's turn from others
            hosts = list(dict.fromkeys(await look_up(parsed.host, parsed.port, is_hearsay=True)))
    except TooManyNames as error:  # strangers may have seen to that, so nothing follows for whose name it is
        raise DialledTooOften(f"the name {parsed.host} was not looked up: {error}") from error
    except TimeoutError as error:
        raise DialFailed(f"the name {parsed.host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        why = "has no answer from the resolver" if is_resolver_mute(error) else "does not resolve"
        raise DialFailed(f"the name {parsed.host} {why}") from error
    if not hosts or not (is_private_allowed or all(is_public(host) for host in hosts)):
        raise DialFailed(f"the name {parsed.host} leads to a private address")
    if len(hosts) > HOSTS_PER_NAME_MAX:
        raise DialFailed(f"the name {parsed.host} leads to too many addresses")
    return hosts


async def on_hearsay(urls: Sequence[str], namers: Sequence[str]) -> list[str]:
    """Those of some urls that may be dialled although only a record named them: no door into a private network.

    Args:
        urls: From somebody's identity record.
        namers: IP addresses at which those are reached who showed it.

    """
    found = []
    for text in urls:
        try:
            await resolve(text, is_private_allowed=False)
        except DialFailed:
            continue
        url = parse_url(text)
        is_near = any(may_dial(url.host, namer, is_private_allowed=False) for namer in namers)
        if url.ip is None or is_near:  # a name was looked up just now, and leads to public addresses alone
            found.append(url.text)
    return found
