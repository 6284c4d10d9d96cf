"""What `yz doctor` finds: one fact each, how bad it is, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.units import plain


if TYPE_CHECKING:
    from yzdht.errors import YzError


class Outcome(StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """What one check came to.

    Attributes:
        check: What was looked at, in a word or two.
        outcome: How bad it is.
        fact: One sentence without a full stop.
        hint: What to do, imperative; empty if there is nothing.

    """

    check: str
    outcome: Outcome
    fact: str
    hint: str = ""

    def view(self) -> dict[str, object]:
        """For programs."""
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "fact": self.fact,
            "hint": self.hint,
        }

    def lines(self) -> list[str]:
        """For people."""
        shown = [f"{self.outcome.value:<9}{self.check:<14}{plain(self.fact)}"]
        if self.hint:
            shown.append(f"{'':<23}{plain(self.hint)}")
        return shown


def ok(check: str, fact: str, hint: str = "") -> Finding:
    """All is well."""
    return Finding(check, Outcome.OK, fact, hint)


def unknown(check: str, fact: str, hint: str = "") -> Finding:
    """It could not be found out, which is nothing wrong."""
    return Finding(check, Outcome.UNKNOWN, fact, hint)


def warning(check: str, fact: str, hint: str = "") -> Finding:
    """It works, and may not for long or for everybody."""
    return Finding(check, Outcome.WARNING, fact, hint)


def problem(check: str, fact: str, hint: str = "") -> Finding:
    """It does not work."""
    return Finding(check, Outcome.PROBLEM, fact, hint)


def problem_of(check: str, error: YzError) -> Finding:
    """An error as a finding."""
    return problem(check, str(error), error.hint)
