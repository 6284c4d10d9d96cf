"""Token buckets: how much one sender may ask for, and how senders behind one address share what all of them may."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.limits import SHARE_S


if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket allows.

    Attributes:
        per_s: Tokens that flow in per second.
        burst: Tokens that fit.

    """

    per_s: float
    burst: float

    def times(self, factor: float) -> Rate:
        """The same rate, `factor` times as large."""
        return Rate(self.per_s * factor, self.burst * factor)


@dataclass(slots=True)
class _Level:
    tokens: float
    at: float
    rate: Rate

    def is_full(self, mono: float) -> bool:
        """True if everything that was taken has flowed in again."""
        return self.tokens + (mono - self.at) * self.rate.per_s >= self.rate.burst


class Buckets:
    """A bucket per key; at most `keys_max` of them, the least recently used leaves first.

    A key that was forgotten starts with a full bucket, so `keys_max` must be large beside the keys that an attacker
    can hold at once. One that is full again is forgotten as others come: a node that lives long would otherwise keep a
    bucket for each of the last `keys_max` peers that it ever had.
    """

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._levels: OrderedDict[Hashable, _Level] = OrderedDict()

    def take(self, key: Hashable, tokens: float, rate: Rate, mono: float) -> float:
        """Take tokens if they are there.

        Returns:
            0.0 when they were taken, else the seconds after which they would be.

        """
        level = self._level(key, rate, mono)
        if level.tokens < tokens:
            return (tokens - level.tokens) / rate.per_s
        level.tokens -= tokens
        return 0.0

    def overdraw(self, key: Hashable, tokens: float, rate: Rate, mono: float) -> None:
        """Take tokens whether they are there or not; what is owed is a burst at most."""
        level = self._level(key, rate, mono)
        level.tokens = max(-rate.burst, level.tokens - tokens)

    def put_back(self, key: Hashable, tokens: float) -> None:
        """Undo a take of this instant."""
        if (level := self._levels.get(key)) is not None:
            level.tokens += tokens

    def _level(self, key: Hashable, rate: Rate, mono: float) -> _Level:
        level = self._levels.get(key)
        if level is None:
            self._forget_full(mono)
            level = self._levels[key] = _Level(rate.burst, mono, rate)
            if len(self._levels) > self._keys_max:
                self._levels.popitem(last=False)
        else:
            self._levels.move_to_end(key)
            level.tokens = min(rate.burst, level.tokens + (mono - level.at) * rate.per_s)
            level.at, level.rate = mono, rate
        return level

    def _forget_full(self, mono: float) -> None:
        levels = self._levels
        while levels and next(iter(levels.values())).is_full(mono):
            levels.popitem(last=False)


@dataclass(slots=True)
class _Member:
    used: float
    at: float
    owes: float = 0.0  # what it was charged and nobody had


@dataclass(slots=True)
class _Group(_Level):
    members: OrderedDict[Hashable, _Member] = field(
        default_factory=OrderedDict
    )  # who asked lately, the latest last


class FairBuckets:
    """A bucket per group, such as an address prefix, that its members share fairly once it runs low.

    While a bucket is at least half full any member takes from it. Below that, a member may have taken lately no more than
    its share: half of what is left, divided by the number of members that asked within SHARE_S; and it is forgiven
    what it took at the group's rate divided by that number. So a greedy member empties half of a bucket at most, a
    crowd that comes one by one never quite all, and the rest is there for who asks seldom. A member that has taken nothing
    lately is served while there are tokens.

    Args:
        keys_max: Groups, and members of all groups, that are remembered; the least recently used leave first, and those
            of whom nothing is left to remember leave as others come.

    """

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        self._members = 0

    def take(self, key: Hashable, member: Hashable, tokens: float, rate: Rate, mono: float) -> float:
        """Take tokens from a group's bucket for one of its members.

        Returns:
            0.0 when they were taken, else seconds after which it is worth another try.

        """
        group = self._group(key, rate, mono)
        taken, count = self._member(group, member, mono)
        if taken.owes > 0:
            return taken.owes * count / rate.per_s
        if group.tokens < tokens:
            return (tokens - group.tokens) / rate.per_s
        lacking = rate.burst / 2 + tokens - group.tokens
        over = taken.used + tokens - group.tokens / (2 * count)
        if taken.used and lacking > 0 and over > 0:
            return min(lacking, over * count) / rate.per_s
        group.tokens -= tokens
        taken.used = min(taken.used + tokens, rate.burst)
        return 0.0

    def charge(self, key: Hashable, member: Hashable, tokens: float, rate: Rate, mono: float) -> None:
        """Charge what a member's request turned out to cost beside what was taken for it.

        It is taken from the upper half of the bucket: the lower half is for those who ask seldom. What is not there the
        member owes, a burst at most, and is served again once it has flowed in at its share.
        """
        group = self._group(key, rate, mono)
        taken, _ = self._member(group, member, mono)
        paid = min(tokens, max(0.0, group.tokens - rate.burst / 2))
        group.tokens -= paid
        taken.used = min(taken.used + paid, rate.burst)
        taken.owes = min(taken.owes + tokens - paid, rate.burst)

    def put_back(self, key: Hashable, member: Hashable, tokens: float) -> None:
        """Undo a take of this instant."""
        group = self._groups.get(key)
        if group is None:
            return
        group.tokens += tokens
        if (taken := group.members.get(member)) is not None:
            taken.used = max(0.0, taken.used - tokens)

    def _member(self, group: _Group, member: Hashable, mono: float) -> tuple[_Member, int]:
        """What a member took lately, and how many share the group's bucket now, that member included."""
        count = self._forget_quiet(group, member, mono)
        taken = group.members.get(member)
        if taken is None:
            taken = group.members[member] = _Member(0.0, mono)
            self._members += 1
            self._bound()
        else:
            group.members.move_to_end(member)
            flown = (mono - taken.at) * group.rate.per_s / count
            taken.used = max(0.0, taken.used + min(0.0, taken.owes - flown))
            taken.owes = max(0.0, taken.owes - flown)
            taken.at = mono
        return taken, count

    def _group(self, key: Hashable, rate: Rate, mono: float) -> _Group:
        group = self._groups.get(key)
        if group is None:
            self._forget_full(mono)
            group = self._groups[key] = _Group(rate.burst, mono, rate)
            if len(self._groups) > self._keys_max:
                self._forget_quietest()
        else:
            self._groups.move_to_end(key)
            group.tokens = min(rate.burst, group.tokens + (mono - group.at) * rate.per_s)
            group.at, group.rate = mono, rate
        return group

    def _forget_full(self, mono: float) -> None:
        """Forget groups whose bucket is full again and of whom nobody has asked for SHARE_S, as others come."""
        while self._groups:
            quietest = next(iter(self._groups.values()))
            if quietest.at > mono - SHARE_S or not quietest.is_full(mono):
                return
            self._forget_quietest()

    def _forget_quietest(self) -> None:
        self._members -= len(self._groups.popitem(last=False)[1].members)

    def _forget_quiet(self, group: _Group, member: Hashable, mono: float) -> int:
        """Forget who has not asked for SHARE_S; return how many share now, the asking member included."""
        members = group.members
        while members:
            oldest = next(iter(members))
            if members[oldest].at > mono - SHARE_S:
                break
            del members[oldest]
            self._members -= 1
        return len(members) + (member not in members)

    def _bound(self) -> None:
        """Too many members in all: the group that asked least lately is forgotten, or else its quietest member."""
        if self._members <= self._keys_max:
            return
        if len(self._groups) > 1:
            self._forget_quietest()
        else:
            next(iter(self._groups.values())).members.popitem(last=False)
            self._members -= 1
