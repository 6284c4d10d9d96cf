"""Figures beside what they are to be, and where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_MODULES_SHOWN = 16


class Aim(NamedTuple):
    """One figure.

    Attributes:
        what: Of what.
        figure: As measured.
        most: What it is to be at most.
        unit: Of both.

    """

    what: str
    figure: float
    most: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.figure <= self.most

    def line(self) -> str:
        """As the tables show it."""
        verdict = "met" if self.is_met else f"missed by {self.figure - self.most:.2f} {self.unit}"
        return f"  {self.what:58}{self.figure:9.2f} {self.unit:4} aim {self.most:g}: {verdict}"


def show_aims(aims: Iterable[Aim]) -> list[Aim]:
    """Print them; those that are missed."""
    aims = list(aims)
    print()
    for aim in aims:
        print(aim.line())
    return [aim for aim in aims if not aim.is_met]


def show_profile(title: str, by_module: Mapping[str, float], per: int) -> None:
    """Print in which modules the time of so many operations went.

    Args:
        title: Of what.
        by_module: Seconds, under the profiler, which costs about as much again.
        per: Operations.

    """
    total = sum(by_module.values())
    print(f"\n{title}: {total / per * 1e3:.2f} ms each under the profiler")
    for module, own in sorted(by_module.items(), key=lambda item: -item[1])[:_MODULES_SHOWN]:
        print(f"  {own / per * 1e6:7.0f} us  {own / total:5.1%}  {module}")


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of them is not above; not a number if there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
