"""What a node notices of the machine it runs on: a disk that refuses it, a clock that is wrong, a certificate that ends.

Owns what stands on the status page and in the log about these, and how far the clock is believed: what a node deletes
because it expired is gone, and a clock that was wrong for a day must not decide that. Decides on records nothing else.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from yzdht.limits import (
    CERTIFICATE_ENDS_SOON_S,
    CLOCK_BELIEVED_AFTER_S,
    CLOCK_SKEW_S,
    DAY_S,
    DISK_UNREADABLE_S,
    SWEEP_DOUBT_S,
)


if TYPE_CHECKING:
    from yzdht.certificates import TlsMeans
    from yzdht.errors import StoreError
    from yzdht.ports import Now
    from yzdht.sessions import Clock
    from yzdht.store.sqlite import Commit
    from yzdht.telemetry import Telemetry


log = logging.getLogger(__name__)

_CLOCK_HINT = "set this machine's clock, and let it be kept right by NTP"
_RENEW_HINT = "renew it, then send the node SIGHUP"
_FASTER_HINT = "have it signed for a key on P-256, then send the node SIGHUP"
_REFUSED_MIN = 3


class DiskAlarm:
    """Remembers whether the disk takes and shows records.

    Args:
        telemetry: Where operators look.

    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._refusal: StoreError | None = None
        self._unreadable: StoreError | None = None
        self._unreadable_at = float("-inf")

    @property
    def is_refusing(self) -> bool:
        """True if the last write failed."""
        return self._refusal is not None

    def trouble(self, mono: float) -> StoreError | None:
        """What is wrong now; None if the last write stood and nothing was unreadable for DISK_UNREADABLE_S."""
        is_unreadable = mono < self._unreadable_at + DISK_UNREADABLE_S
        return self._refusal or (self._unreadable if is_unreadable else None)

    def committed(self, commit: Commit, wall: float) -> None:
        """A batch of writes was decided, at a wall time in Unix seconds."""
        self._telemetry.observe("commit_seconds", commit.seconds)
        self._telemetry.observe("commit_writes", commit.writes)
        self.wrote(commit.failure, wall)
        if commit.failure is not None:
            self._telemetry.add("commits_failed")

    def wrote(self, failure: StoreError | None, wall: float) -> None:
        """A batch of writes was decided.

        Args:
            failure: Why the disk refused it; None if it is durable.
            wall: Unix seconds.

        """
        known, self._refusal = self._refusal, failure
        if failure is not None:
            self._telemetry.error(f"the disk refused records: {failure}", wall, failure.hint)
            if str(known) != str(failure):
                log.warning("disk refuses records reason=%s hint=%s", failure, failure.hint)
        elif known is not None:
            log.warning("disk takes records again")

    def could_not_read(self, failure: StoreError, now: Now) -> None:
        """Records could not be read, or not as they were written."""
        known, self._unreadable, self._unreadable_at = self._unreadable, failure, now.mono
        self._telemetry.error(f"records cannot be read: {failure}", now.wall, failure.hint)
        if str(known) != str(failure):
            log.warning("records cannot be read reason=%s hint=%s", failure, failure.hint)


class ClockAlarm:
    """Watches the wall clock beside the monotonic one, and what other nodes say of it.

    Args:
        telemetry: Where operators look, and what was served is counted.
        now: The start.

    """

    def __init__(self, telemetry: Telemetry, now: Now) -> None:
        self._telemetry = telemetry
        self._seen = now
        self._steady_since = now.mono
        self._is_disputed = False
        self._refused, self._taken = 0, 0

    def has_jumped(self, now: Now) -> bool:
        """True if the clock was set by more than CLOCK_SKEW_S since this was last asked."""
        ahead_s = self._ahead_s(now)
        self._seen = now
        if abs(ahead_s) <= CLOCK_SKEW_S:
            return False
        self._steady_since = now.mono
        direction = "forward" if ahead_s > 0 else "back"
        log.warning("clock jumped direction=%s seconds=%d hint=%s", direction, abs(ahead_s), _CLOCK_HINT)
        self._telemetry.error(f"this machine's clock jumped {direction}", now.wall, _CLOCK_HINT)
        return True

    def _ahead_s(self, now: Now) -> float:
        """By how much the wall clock went further than the monotonic one."""
        return (now.wall - self._seen.wall) - (now.mono - self._seen.mono)

    def accepted(self) -> None:
        """A quorum took a record that was signed by this clock."""
        self._is_disputed = False

    def refused(self, their_wall: int, now: Now) -> None:
        """A record that was signed by this clock was refused for its times.

        Args:
            their_wall: Unix seconds at whoever refused it.
            now: The present.

        """
        ahead_s = now.wall - their_wall
        if abs(ahead_s) <= CLOCK_SKEW_S:
            return
        direction = "ahead of" if ahead_s > 0 else "behind"
        if not self._is_disputed:
            log.warning("clock is off relation=%s seconds=%d hint=%s", direction, abs(ahead_s), _CLOCK_HINT)
        self._is_disputed = True
        self._telemetry.error(f"this machine's clock is {direction} those of others", now.wall, _CLOCK_HINT)

    def look_at_refusals(self, wall: float) -> None:
        """See whether most records that others brought since the last look had impossible times: who is wrong then?"""
        refused = self._telemetry.get("rpc_served", "store/bad_lifetime")
        taken = self._telemetry.get("rpc_served", "store/ok")
        more_refused, more_taken = refused - self._refused, taken - self._taken
        if more_refused < _REFUSED_MIN:
            return  # they add up until there are enough
        self._refused, self._taken = refused, taken
        if more_refused > more_taken:
            what = "records that others bring are of another time than this machine's"
            self._telemetry.error(what, wall, "compare this machine's clock with others: yz doctor")

    def sweep_before(self, now: Now) -> float:
        """Up to which expiry records may be deleted, Unix seconds.

        Now, if the clock ran for CLOCK_BELIEVED_AFTER_S without a jump and nobody disputes it; else SWEEP_DOUBT_S
        before: nobody is shown what has expired, and it is still there when the clock comes back.
        """
        is_steady = now.mono - self._steady_since >= CLOCK_BELIEVED_AFTER_S
        has_just_jumped = abs(self._ahead_s(now)) > CLOCK_SKEW_S
        is_believed = is_steady and not self._is_disputed and not has_just_jumped
        return now.wall if is_believed else now.wall - SWEEP_DOUBT_S


class CertificateAlarm:
    """Tells of the node's own certificate before it ends, and while it is not valid: at once, then every day.

    Args:
        tls: Knows it.
        telemetry: Where operators look.
        clock: The present.

    """

    def __init__(self, tls: TlsMeans, telemetry: Telemetry, clock: Clock) -> None:
        self._tls = tls
        self._telemetry = telemetry
        self._clock = clock
        self._told = ""
        self._told_at = float("-inf")
        self._told_slow = ""
        self.look()

    def look(self) -> None:
        """See whether there is something to tell by now."""
        now = self._clock.now()
        self._look_at_key(now)
        trouble, ends = self._tls.look(now.wall), self._tls.not_after
        if trouble is not None:
            if self._is_news(str(trouble), trouble.hint, now):
                log.error("certificate is no good reason=%s hint=%s", trouble, trouble.hint)
        elif ends is not None and ends - now.wall < CERTIFICATE_ENDS_SOON_S:
            day = datetime.fromtimestamp(ends, UTC).date()
            if self._is_news(f"the certificate ends on {day}", _RENEW_HINT, now):
                log.warning("certificate ends soon day=%s hint=%s", day, _RENEW_HINT)
        else:
            self._told = ""

    def _look_at_key(self, now: Now) -> None:
        """Tell once of a key with which few can come."""
        slow = self._tls.slow_key
        if slow and slow != self._told_slow:
            log.warning("certificate is slow reason=%s hint=%s", slow, _FASTER_HINT)
            self._telemetry.error(f"the certificate is slow: {slow}", now.wall, _FASTER_HINT)
        self._told_slow = slow

    def _is_news(self, what: str, hint: str, now: Now) -> bool:
        """Remember it where operators look; False if that was done within a day."""
        if what == self._told and now.mono - self._told_at < DAY_S:
            return False
        self._told, self._told_at = what, now.mono
        self._telemetry.error(what, now.wall, hint)
        return True
