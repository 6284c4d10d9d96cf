"""Whether others reach a node, address by address: what peers found when they dialled back (PROTOCOL.md sections 5, 6).

Pure. Judges rounds: in each, a few peers of different networks say where they see the node and try its addresses. That an
address was reached counts only if the peer's PING came in from outside; so a peer can lie in one direction alone, and
one honest peer outweighs all that deny. That it was not takes as many as were to be had, of different networks.
What nobody could tell stays as it was, and is unknown in the end: a node that is alone, or has one peer, is not unreachable.

A peer tries a few addresses at a time; those that were not tried yet go first in the next round, and no node takes itself
for unreachable before all were. IPv4 and IPv6 are judged apart, a name over each of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import UsageError
from yzdht.limits import (
    DIAL_BACK_URLS_MAX,
    PROBERS_AGREEING,
    PROBERS_DENYING,
    REACH_KEPT_S,
    REACH_SECOND_LOOK_S,
)
from yzdht.sightings import Sightings
from yzdht.wire.address import is_public, parse_url, scope_of


if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence


class Word(StrEnum):
    """What comes of one address in an answer to DIAL_BACK; the text goes over the wire, but for the last two."""

    REACHED = "reached"
    REFUSED = "connection refused"
    REJECTED = "rejected on the way"
    SILENT = "no answer"
    UNTRUSTED = "certificate not trusted"
    NO_NODE = "no node of this network"
    ANOTHER = "another node answers there"
    NOT_YOURS = "not where the request came from"
    NOT_DIALLED = "not dialled"
    FAILED = "dial failed"  # whatever a newer version says
    TURNED_AROUND = "reached from inside alone"  # by the node itself, through its own router


_DENIALS = frozenset(Word) - {Word.REACHED, Word.NOT_YOURS, Word.NOT_DIALLED, Word.TURNED_AROUND}


class Reach(StrEnum):
    """How an address, or a node, can be reached from outside."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    RELAYED = "relay"
    UNREACHABLE = "unreachable"


class Version(IntEnum):
    """Of IP."""

    IPV4 = 4
    IPV6 = 6

    @classmethod
    def of(cls, host: str) -> Version:
        """That of an IP literal."""
        return cls.IPV6 if ":" in host else cls.IPV4


class Way(NamedTuple):
    """An address over one version of IP: its own, or for a name each."""

    url: str
    version: Version


def host_of(url: str) -> str:
    """The host of an address, a name or an IP literal; empty for an address of a newer protocol."""
    try:
        return parse_url(url).host
    except UsageError:
        return ""


def is_name(host: str) -> bool:
    """True for what is neither empty nor an IP literal."""
    try:
        ip_address(host)
    except ValueError:
        return bool(host)
    return False


def ways_of(url: str) -> list[Way]:
    """How an address can be tried: over the version of its IP literal, a name over both; a newer protocol's not at all."""
    host = host_of(url)
    if not host:
        return []
    return [Way(url, version) for version in (Version if is_name(host) else (Version.of(host),))]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one address.

    Attributes:
        reach: Whether others reach it.
        word: Why not, as most of them said; REACHED where they do; NOT_YOURS there after a dial of the node itself failed.
        at: Monotonic seconds of the round that said so; None for never.

    """

    reach: Reach = Reach.UNKNOWN
    word: Word = Word.NOT_DIALLED
    at: float | None = None

    @property
    def is_doubted(self) -> bool:
        """True if it was reached, and a dial of the node itself failed since."""
        return self.reach is Reach.REACHABLE and self.word is not Word.REACHED


@dataclass(slots=True)
class _Voices:
    """Who of one IP version reached the node at all and who did not, and whether each is of the public internet."""

    failed: dict[str, bool] = field(default_factory=dict)
    reached: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class _Round:
    """What one round heard so far, by the groups of those who said it: who shares a network has one voice."""

    words: dict[Way, dict[str, Word]] = field(default_factory=dict)
    voices: dict[Version, _Voices] = field(default_factory=lambda: {v: _Voices() for v in Version})
    own: dict[str, Word] = field(default_factory=dict)
    waiting: set[Way] = field(default_factory=set)  # what was to be tried some day and did not fit


class Reachability:
    """The judge of one node.

    Args:
        before: What is known of the node from an earlier run.

    Attributes:
        node: Whether others reach the node at all; RELAYED or UNREACHABLE make it a client (section 6).
        over: The same for each version of IP.
        has_untried: True if something of the node was not tried in any round yet, and the last one got on with that.
        is_in_doubt: True if the last round heard a denial over some version of IP, and not enough of them.
        wants_second_look: True if the last round was the first to contradict what was known, and the next one decides.

    """

    def __init__(self, before: Reach = Reach.UNKNOWN) -> None:
        self.node = before
        self.over = dict.fromkeys(Version, Reach.UNKNOWN)
        self.has_untried = False
        self.is_in_doubt = False
        self.wants_second_look = False
        self._denied_at: float | None = None  # when peers first denied what is reached as far as is known
        self._findings: dict[Way, Finding] = {}
        self._tried: dict[Way, int] = {}  # in which round last
        self._number = 0
        self._round = _Round()
        self._sightings = Sightings()

    @property
    def seen(self) -> tuple[str, ...]:
        """Where peers see it, IPv4 before IPv6."""
        return self._sightings.hosts

    @property
    def is_denied(self) -> bool:
        """True if others do not reach the node, or none of the last ones asked did."""
        return self.node is Reach.UNREACHABLE or self._denied_at is not None

    def finding(self, url: str) -> Finding:
        """What is known of an address: the best of what is known over each version of IP."""
        found = [self._findings[way] for way in ways_of(url) if way in self._findings]
        ranks = [Reach.REACHABLE, Reach.UNREACHABLE, Reach.UNKNOWN]
        return min(found, key=lambda f: ranks.index(f.reach), default=Finding())

    def finding_over(self, url: str, version: Version) -> Finding:
        """What is known of an address over one version of IP."""
        return self._findings.get(Way(url, version), Finding())

    def is_withdrawn(self, url: str) -> bool:
        """True for an address that is not to be advertised: others do not reach it."""
        return self.finding(url).reach is Reach.UNREACHABLE

    # A round

    def begin(self) -> None:
        """Forget what an unfinished round heard."""
        self._round = _Round()
        self._sightings.begin()

    def saw(self, group: str, host: str) -> None:
        """A peer says where it sees this node; believed if enough others see it there, too."""
        self._sightings.saw(group, host)

    def to_try(self, own: Iterable[str], beside: Iterable[str], seen_host: str) -> list[str]:
        """Which addresses to have tried by a peer that sees this node at some host; DIAL_BACK_URLS_MAX at most.

        All peers of a round are given the same ones: first what was tried longest ago, or never; but always one
        that was reached before, if there is one, since whether the node can be reached must not hang on which are
        in turn.

        Args:
            own: What the node has; those at that host, and names, are tried.
            beside: Where it may be found at that host besides.
            seen_host: An IP address.

        """
        version = Version.of(seen_host)
        near = [Way(url, version) for url in own if (host := host_of(url)) == seen_host or is_name(host)]
        ways = list(dict.fromkeys([*near, *(Way(url, version) for url in beside)]))
        reached = [w for w in ways if self._findings.get(w, Finding()).reach is Reach.REACHABLE]
        in_turn = sorted(ways, key=lambda way: self._tried.get(way, 0))
        best = [w for w in in_turn if w in reached][-1:]
        chosen = list(dict.fromkeys([*best, *in_turn]))[:DIAL_BACK_URLS_MAX]
        self._round.waiting |= {w for w in near if w not in chosen and w not in self._tried}
        return [way.url for way in ways if way in chosen]

    def heard(self, group: str, prober_host: str, words: Mapping[str, Word], *, is_proved: bool) -> None:
        """A peer tried some addresses.

        Args:
            group: With whom it shares a voice: its public prefix, or its address.
            prober_host: Where it is.
            words: What it says of each address.
            is_proved: True if it came in while it was asked.

        """
        version = Version.of(prober_host)
        voices = self._round.voices[version]
        believed = {u: w for u, w in words.items() if is_proved or w is not Word.REACHED}
        for url, word in believed.items():
            before = self._round.words.setdefault(Way(url, version), {})
            if before.get(group) is not Word.REACHED:
                before[group] = word
        if Word.REACHED in believed.values():
            voices.reached[group] = is_public(prober_host)
            voices.failed.pop(group, None)
        elif group not in voices.reached and not _DENIALS.isdisjoint(believed.values()):
            voices.failed[group] = is_public(prober_host)

    def tried_itself(self, url: str, word: Word) -> None:
        """The node dialled an address of its own, which peers could not: they see it somewhere else.

        Args:
            url: The address.
            word: REACHED from outside; TURNED_AROUND, which proves nothing; NOT_DIALLED, which says nothing; anything else
                for not at all.

        """
        if word is not Word.NOT_DIALLED:
            self._round.own[url] = word

    def to_try_itself(
        self, urls: Iterable[str], typed: Container[str], is_own_host: Callable[[str], bool]
    ) -> list[str]:
        """Those of some addresses that no peer dialled since the node does not come from there.

        Only what leads out of this machine: an interface's own address, and one of a private network, are delivered
        past the router that would keep others out.

        Args:
            urls: All that the node has.
            typed: Those that an operator named; names are tried whoever named them.
            is_own_host: Whether an IP address is an interface's own.

        """

        def leads_out(host: str) -> bool:
            return is_name(host) or (is_public(host) and not is_own_host(host))

        unseen = [url for url in urls if len(self._strangers_to(url)) >= PROBERS_AGREEING]
        return [url for url in unseen if (url in typed or is_name(host_of(url))) and leads_out(host_of(url))]

    def came_in(self, group: str, host: str) -> None:
        """A node dialled this one lately, of its own accord."""
        voices = self._round.voices[Version.of(host)]
        voices.reached[group] = is_public(host)
        voices.failed.pop(group, None)

    def has_heard_enough(self, version: Version, groups: Sequence[str]) -> bool:
        """True once nobody else need be asked in this round.

        Args:
            version: Of IP.
            groups: Those that were asked over it.

        """
        voices = self._round.voices[version]
        if not self._sightings.are_enough(is_ipv6=version is Version.IPV6):
            return False
        reached = sum(group in voices.reached for group in groups)
        failed = sum(group in voices.failed for group in groups)
        return (
            reached >= PROBERS_AGREEING
            or (reached > 0 and reached + failed >= PROBERS_DENYING)
            or failed >= PROBERS_DENYING
        )

    def settle(self, urls: Sequence[str], mono: float, own_hosts: Container[str] = ()) -> None:
        """End the round and judge.

        Args:
            urls: Those that were to be tried; what is known of others is forgotten.
            mono: The present, monotonic seconds.
            own_hosts: IP addresses of this machine.

        """
        heard, self._round = self._round, _Round()
        self._number += 1
        self._tried |= dict.fromkeys(heard.words, self._number)
        ways = [way for url in urls for way in ways_of(url)]
        self._tried = {way: self._tried[way] for way in ways if way in self._tried}
        before, self._findings = self._findings, {way: self._judged(way, heard, mono) for way in ways}
        self.wants_second_look = any(
            found.is_doubted and not before.get(way, Finding()).is_doubted
            for way, found in self._findings.items()
        )
        at_home = {
            Version.of(host) for host in self._reached_hosts() if host in own_hosts and is_public(host)
        }
        self._sightings.settle(mono, lambda host: host in own_hosts or Version.of(host) not in at_home)
        self.has_untried = bool(heard.words) and not heard.waiting.isdisjoint(ways)
        self._judge_node(heard, mono)

    def _reached_hosts(self) -> set[str]:
        reached = [way.url for way, found in self._findings.items() if found.reach is Reach.REACHABLE]
        return {host for host in map(host_of, reached) if not is_name(host)}

    def _judge_node(self, heard: _Round, mono: float) -> None:
        for version, voices in heard.voices.items():
            self.over[version] = self._unless_waiting(
                _verdict(voices, self.over[version]), self.over[version]
            )
        self.is_in_doubt = any(
            voices.failed and self.over[version] is Reach.UNKNOWN for version, voices in heard.voices.items()
        )
        both = _Voices()
        for voices in heard.voices.values():
            both.failed |= voices.failed
            both.reached |= voices.reached
        if not both.reached and Word.REACHED in heard.own.values():
            self.node = Reach.UNKNOWN  # at an address that peers were not to dial for it, and nobody denies
            return
        verdict = self._unless_waiting(_verdict(both, self.node), self.node)
        if both.reached:
            self._denied_at = None
        if verdict is Reach.UNREACHABLE and self._is_too_early(mono):
            self.wants_second_look = True
        else:
            self.node = verdict

    def _is_too_early(self, mono: float) -> bool:
        """Whoever was reached is not out of reach for one round: peers are chosen at random, and all may lie in it."""
        if self.node is not Reach.REACHABLE:
            return False
        if self._denied_at is None:
            self._denied_at = mono
        return mono - self._denied_at < REACH_SECOND_LOOK_S / 2

    def _unless_waiting(self, verdict: Reach, before: Reach) -> Reach:
        """Nobody is out of reach before all that was to be tried has been."""
        return before if verdict is Reach.UNREACHABLE and self.has_untried else verdict

    def _strangers_to(self, url: str) -> set[str]:
        said = [self._round.words.get(way, {}) for way in ways_of(url)]
        if not {word for words in said for word in words.values()} <= {Word.NOT_YOURS, Word.NOT_DIALLED}:
            return set()
        return {group for words in said for group, word in words.items() if word is Word.NOT_YOURS}

    def _judged(self, way: Way, heard: _Round, mono: float) -> Finding:
        words, own = heard.words.get(way, {}), heard.own.get(way.url)
        if Word.REACHED in words.values() or own is Word.REACHED:
            return Finding(Reach.REACHABLE, Word.REACHED, mono)
        denials = Counter(word for word in words.values() if word in _DENIALS)
        if denials.total() >= PROBERS_AGREEING:
            return Finding(Reach.UNREACHABLE, denials.most_common(1)[0][0], mono)
        before = self._findings.get(way, Finding())
        is_old = before.at is None or mono - before.at > REACH_KEPT_S
        before = Finding() if is_old else before
        return before if own is None else _judged_by_own_dial(own, before, heard, mono)


def _judged_by_own_dial(own: Word, before: Finding, heard: _Round, mono: float) -> Finding:
    """What a dial by the node itself shows of an address, which did not come in from outside.

    It goes out another way than those of others come in: it may fail where theirs do not. So it takes two rounds to
    withdraw what was reached; and where peers reached nothing else, neither silence nor what cannot be while nodes come in
    withdraws anything.
    """
    if own is Word.TURNED_AROUND:
        return Finding(Reach.UNKNOWN, own, mono)
    if before.reach is Reach.REACHABLE and not before.is_doubted:
        return replace(before, word=Word.NOT_YOURS)
    is_reached_elsewhere = any(Word.REACHED in words.values() for words in heard.words.values())
    have_come = any(voices.reached for voices in heard.voices.values())
    if not is_reached_elsewhere and (have_come or own is Word.SILENT):
        return before
    return Finding(Reach.UNREACHABLE, Word.NOT_YOURS, mono)


def _verdict(voices: _Voices, before: Reach) -> Reach:
    """Whether anybody reached it; what the internet says goes before what neighbours say, where both were asked.

    A holder must be reached by everybody, and whoever sits behind the same router proves nothing for the others.
    """
    reached, failed = voices.reached, voices.failed
    if sum(failed.values()) >= PROBERS_AGREEING and not any(reached.values()):
        return Reach.UNREACHABLE
    if reached:
        return Reach.REACHABLE
    return Reach.UNREACHABLE if len(failed) >= PROBERS_AGREEING else before


def word_of(text: str, *, is_reachable: bool) -> Word:
    """The outcome that a peer's answer names; a text of a newer version is a denial."""
    if is_reachable:
        return Word.REACHED
    known = {word.value: word for word in Word if word not in (Word.REACHED, Word.TURNED_AROUND)}
    return known.get(text, Word.FAILED)


def why(
    finding: Finding,
    url: str,
    seen: Sequence[str],
    over: Version | None = None,
    *,
    is_tried: bool = True,
    is_mapped: bool = False,
) -> tuple[str, str]:
    """What stands beside an address, and what helps, for people; empty where there is nothing to add.

    Args:
        finding: Of that address.
        url: It.
        seen: Where others see this node.
        over: The version of IP that is spoken of; None for that of the address.
        is_tried: False if peers dial no such address back.
        is_mapped: True if the router says that it forwards the port there.

    """
    host = host_of(url)
    if not host or finding.reach not in (Reach.UNKNOWN, Reach.UNREACHABLE):
        return "", ""
    if finding.reach is Reach.UNKNOWN:
        return _why_unknown(finding, host, seen, is_tried=is_tried)
    if finding.word is Word.NOT_YOURS:
        where = f"others see this node at {', '.join(seen)}" if seen else "others see this node elsewhere"
        return f"{where}, and no node of yours answers here", "correct --public-address, or leave it out"
    fact, fix = _LINES[finding.word]
    is_over_ipv6 = (over or Version.of(host)) is Version.IPV6
    if is_over_ipv6:
        fix = _FIXES_OVER_IPV6.get(finding.word, fix)
    elif is_mapped and finding.word is not Word.UNTRUSTED:
        fix = _FIX_BEYOND_THE_ROUTER
    return fact, fix.format(port=parse_url(url).port)


def _why_unknown(finding: Finding, host: str, seen: Sequence[str], *, is_tried: bool) -> tuple[str, str]:
    if finding.word is Word.TURNED_AROUND:
        return (
            "reached from this network alone, by way of the router: those outside cannot try it",
            _ASK_AROUND,
        )
    if seen and not is_name(host) and scope_of(host) not in {scope_of(h) for h in seen}:
        return "of its own network alone: those outside cannot try it", ""
    return (
        ("", "")
        if is_tried
        else ("peers do not try it: its port or its path may be another program's", _ASK_AROUND)
    )


_ASK_AROUND = "have somebody outside run: yz ping URL"
_FIX_BEYOND_THE_ROUTER = (
    "the router forwards TCP port {port} already: a second router, or the provider, stands before it; forward the port there,"
    " too, or ask the provider for a public IPv4 address"
)
_LINES: Mapping[Word, tuple[str, str]] = {
    Word.SILENT: (
        "dials from outside get no answer",
        "open TCP port {port} in the firewall, and forward it on the router to this machine",
    ),
    Word.REFUSED: (
        "dials from outside are refused",
        "forward TCP port {port} on the router to this machine, or correct --public-address",
    ),
    Word.REJECTED: (
        "a firewall or a router rejects dials from outside",
        "allow TCP port {port} in the firewall of this machine and of the router",
    ),
    Word.UNTRUSTED: (
        "what answers there shows a certificate that others do not trust",
        "serve one for this name that a public authority signed and that has not ended, with its chain",
    ),
    Word.ANOTHER: (
        "another node answers there",
        "forward TCP port {port} on the router to this machine, or give this node a --port of its own",
    ),
    Word.NO_NODE: (
        "something else answers there",
        "forward TCP port {port} on the router to this machine, and to no other",
    ),
    Word.FAILED: (
        "dials from outside fail",
        "forward TCP port {port} on the router to this machine, and open it in the firewall",
    ),
}

_FIXES_OVER_IPV6: Mapping[Word, str] = {
    Word.SILENT: "open TCP port {port} in the firewall of this machine, and to this machine in the router's",
    Word.REFUSED: "open TCP port {port} to this machine in the router's firewall, or correct --public-address",
    Word.ANOTHER: "give this node a --port of its own, or correct --public-address; that node has TCP port {port} there",
    Word.NO_NODE: "see what listens at TCP port {port} there, or correct --public-address",
    Word.FAILED: "open TCP port {port} to this machine, in its own firewall and in the router's",
}
"""No router forwards anything there: each machine has an address of its own, and firewalls stand before it."""
