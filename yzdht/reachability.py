"""Whether others reach a node, address by address: what peers found when they dialled back (PROTOCOL.md sections 5, 6).

Pure. Judges rounds: in each, a few peers of different networks say where they see the node and try its addresses. That an
address was reached counts only if the peer's PING came in from outside; so a peer can lie in one direction alone, and
one honest peer outweighs all that deny. That it was not takes as many as were to be had, of different networks.
What nobody could tell stays as it was, and is unknown in the end: a node that is alone, or has one peer, is not unreachable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import UsageError
from yzdht.limits import DIAL_BACK_URLS_MAX, PROBERS_AGREEING, PROBERS_DENYING, REACH_KEPT_S
from yzdht.wire.address import Scope, is_public, parse_url, scope_of


if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence


class Word(StrEnum):
    """What comes of one address in an answer to DIAL_BACK; the text goes over the wire."""

    REACHED = "reached"
    REFUSED = "connection refused"
    SILENT = "no answer"
    NO_NODE = "no node of this network"
    ANOTHER = "another node answers there"
    NOT_YOURS = "not where the request came from"
    NOT_DIALLED = "not dialled"


_DENIALS = frozenset({Word.REFUSED, Word.SILENT, Word.NO_NODE, Word.ANOTHER})


class Reach(StrEnum):
    """How an address, or a node, can be reached from outside."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    RELAYED = "relay"
    UNREACHABLE = "unreachable"


class Place(NamedTuple):
    """A host and a TCP port: what serves one protocol there serves all that the node has on that port."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Place | None:
        """The place of an address; None for one of a newer protocol."""
        try:
            parsed = parse_url(url)
        except UsageError:
            return None
        return cls(parsed.host, parsed.port)

    @property
    def is_name(self) -> bool:
        """True if the host is no IP address."""
        try:
            ip_address(self.host)
        except ValueError:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one place.

    Attributes:
        reach: Whether others reach it.
        word: Why not, as most of them said; REACHED where they do.
        at: Monotonic seconds of the round that said so; None for never.

    """

    reach: Reach = Reach.UNKNOWN
    word: Word = Word.NOT_DIALLED
    at: float | None = None


@dataclass(slots=True)
class _Round:
    """What one round heard so far, by the groups of those who said it: who shares a network has one voice."""

    words: dict[Place, dict[str, Word]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    failed: dict[str, bool] = field(default_factory=dict)  # whether the group is of the public internet
    reached: dict[str, bool] = field(default_factory=dict)
    own: dict[Place, bool] = field(default_factory=dict)
    scopes: set[Scope] = field(default_factory=set)  # of those who failed


class Reachability:
    """The judge of one node.

    Attributes:
        node: Whether others reach the node at all; RELAYED or UNREACHABLE make it a client (section 6).
        seen: Where enough peers saw it in the last round, IPv4 before IPv6.

    """

    def __init__(self) -> None:
        self.node = Reach.UNKNOWN
        self.seen: tuple[str, ...] = ()
        self._findings: dict[Place, Finding] = {}
        self._round = _Round()

    def finding(self, url: str) -> Finding:
        """What is known of an address."""
        place = Place.of(url)
        return Finding() if place is None else self._findings.get(place, Finding())

    def is_withdrawn(self, url: str) -> bool:
        """True for an address that is not to be advertised: others do not reach it."""
        return self.finding(url).reach is Reach.UNREACHABLE

    # A round

    def begin(self) -> None:
        """Forget what an unfinished round heard."""
        self._round = _Round()

    def saw(self, group: str, host: str) -> None:
        """A peer says where it sees this node; believed if it is an IP address that another network sees, too."""
        try:
            self._round.seen.setdefault(group, str(ip_address(host)))
        except ValueError:
            return

    def heard(self, group: str, prober_host: str, words: dict[Place, Word], *, is_proved: bool) -> None:
        """A peer tried some places.

        Args:
            group: With whom it shares a voice: its public prefix, or its address.
            prober_host: Where it is.
            words: What it says.
            is_proved: True if it came in while it was asked.

        """
        heard = self._round
        believed = {p: w for p, w in words.items() if is_proved or w is not Word.REACHED}
        for place, word in believed.items():
            before = heard.words.setdefault(place, {})
            if before.get(group) is not Word.REACHED:
                before[group] = word
        if Word.REACHED in believed.values():
            heard.reached[group] = is_public(prober_host)
            heard.failed.pop(group, None)
        elif group not in heard.reached and not _DENIALS.isdisjoint(believed.values()):
            heard.failed[group] = is_public(prober_host)
            heard.scopes.add(scope_of(prober_host))

    def tried_itself(self, place: Place, *, is_reached: bool) -> None:
        """The node dialled an address of its own, which peers could not: they see it somewhere else."""
        self._round.own[place] = is_reached

    def to_try_itself(self, places: Iterable[Place], typed: Container[Place | None]) -> list[Place]:
        """Those of some places that no peer dialled since the node does not come from there.

        Args:
            places: All that the node has.
            typed: Those that an operator named. Others matter only where those who failed to reach the node could dial
                them: a machine may send from one address and listen at another.

        """
        scopes = self._round.scopes
        unseen = [p for p in places if len(self._strangers_to(p)) >= PROBERS_AGREEING]
        return [p for p in unseen if p in typed or (not p.is_name and scope_of(p.host) in scopes)]

    def came_in(self, group: str, host: str) -> None:
        """A node dialled this one lately, of its own accord."""
        self._round.reached[group] = is_public(host)
        self._round.failed.pop(group, None)

    def has_heard_enough(self, groups: Sequence[str]) -> bool:
        """True once nobody else need be asked in this round.

        Args:
            groups: Those that were asked for one IP version.

        """
        reached = sum(group in self._round.reached for group in groups)
        failed = sum(group in self._round.failed for group in groups)
        return (
            reached >= PROBERS_AGREEING
            or (reached > 0 and reached + failed >= PROBERS_DENYING)
            or failed >= PROBERS_DENYING
        )

    def settle(self, places: Sequence[Place], mono: float) -> None:
        """End the round and judge.

        Args:
            places: Those that were to be tried; what is known of others is forgotten.
            mono: The present, monotonic seconds.

        """
        heard, self._round = self._round, _Round()
        self._findings = {place: self._judged(place, heard, mono) for place in places}
        sightings = Counter(heard.seen.values())
        agreed = [host for host, count in sightings.items() if count >= PROBERS_AGREEING]
        if heard.seen:
            self.seen = tuple(sorted(agreed, key=lambda host: (":" in host, host)))
        self.node = _judge_node(heard, self.node)

    def _strangers_to(self, place: Place) -> set[str]:
        words = self._round.words.get(place, {})
        if not set(words.values()) <= {Word.NOT_YOURS, Word.NOT_DIALLED}:
            return set()
        return {group for group, word in words.items() if word is Word.NOT_YOURS}

    def _judged(self, place: Place, heard: _Round, mono: float) -> Finding:
        words = heard.words.get(place, {})
        if Word.REACHED in words.values() or heard.own.get(place):
            return Finding(Reach.REACHABLE, Word.REACHED, mono)
        denials = Counter(word for word in words.values() if word in _DENIALS)
        if denials.total() >= PROBERS_AGREEING:
            return Finding(Reach.UNREACHABLE, denials.most_common(1)[0][0], mono)
        if heard.own.get(place) is False:
            return Finding(Reach.UNREACHABLE, Word.NOT_YOURS, mono)
        before = self._findings.get(place, Finding())
        is_old = before.at is None or mono - before.at > REACH_KEPT_S
        return Finding() if is_old else replace(before)


def _judge_node(heard: _Round, before: Reach) -> Reach:
    """Whether anybody reached it; what the internet says goes before what neighbours say, where both were asked.

    A holder must be reached by everybody, and whoever sits behind the same router proves nothing for the others.
    """
    reached, failed = heard.reached, heard.failed
    if not reached and any(heard.own.values()):
        return Reach.UNKNOWN  # at an address that peers were not to dial for it, and nobody denies
    if sum(failed.values()) >= PROBERS_AGREEING and not any(reached.values()):
        return Reach.UNREACHABLE
    if reached:
        return Reach.REACHABLE
    if len(failed) >= PROBERS_AGREEING:
        return Reach.UNREACHABLE
    return before


def places_for(places: Sequence[Place], seen_host: str) -> list[Place]:
    """Which places to have tried by a peer that sees this node at some host: that host's, and names; DIAL_BACK_URLS_MAX."""
    near = [place for place in places if place.host == seen_host]
    names = [place for place in places if place.is_name]
    return (near + names)[:DIAL_BACK_URLS_MAX]


def word_of(text: str, *, is_reachable: bool) -> Word:
    """The outcome that a peer's answer names; a text of a newer version is a denial."""
    if is_reachable:
        return Word.REACHED
    known = {word.value: word for word in Word if word is not Word.REACHED}
    return known.get(text, Word.NO_NODE)


def why(finding: Finding, place: Place | None, seen: Sequence[str]) -> tuple[str, str]:
    """What stands beside an address, and what helps, for people; empty where there is nothing to add.

    Args:
        finding: Of that address.
        place: Where it leads.
        seen: Where others see this node.

    """
    if place is not None and finding.reach is Reach.UNKNOWN and seen and _is_of_another_scope(place, seen):
        return "of its own network alone: those outside cannot try it", ""
    if finding.reach is not Reach.UNREACHABLE or place is None:
        return "", ""
    port = place.port
    match finding.word:
        case Word.NOT_YOURS:
            where = f"others see this node at {', '.join(seen)}" if seen else "others see this node elsewhere"
            return f"{where}, and nothing answers there", "correct --public-address, or leave it out"
        case Word.SILENT:
            return (
                "dials from outside get no answer",
                f"open TCP port {port} in the firewall, and forward it on the router to this machine",
            )
        case Word.REFUSED:
            return (
                "dials from outside are refused",
                f"forward TCP port {port} on the router to this machine, or correct --public-address",
            )
        case _:
            return (
                "something else answers there",
                f"forward TCP port {port} on the router to this machine, and to no other",
            )


def _is_of_another_scope(place: Place, seen: Sequence[str]) -> bool:
    return not place.is_name and scope_of(place.host) not in {scope_of(host) for host in seen}
