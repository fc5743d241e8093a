"""Figures as text: the same form everywhere, so that a figure reads alike in a table, a chart and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from srlm.evaluation.estimates import Estimate

Form = Literal["percent", "number", "loss", "count", "seconds", "text"]
MISSING = "not measured"
ABSENT = "-"  # where there is nothing to measure


def figure(value: float | str | None, form: Form) -> str:
    """Return a figure in the form of its kind; `percent` takes a share of 1."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    return {
        "percent": f"{100 * value:.1f} %",
        "number": f"{value:.2f}",
        "loss": f"{value:.4f}",
        "count": f"{value:,.0f}",
        "seconds": duration(value),
        "text": str(value),
    }[form]


def with_interval(found: Estimate, form: Form = "percent") -> str:
    """Return a figure with its 95 % interval: `58.3 % (51.0 to 65.1)`."""
    if found.value is None or found.low is None or found.high is None:
        return figure(found.value, form)
    return f"{figure(found.value, form)} ({interval(found.low, found.high, form)})"


def interval(low: float, high: float, form: Form = "percent") -> str:
    """Return the bounds alone, without units: `51.0 to 65.1`."""
    return " to ".join(figure(bound, form).removesuffix(" %") for bound in (low, high))


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: `12.3 s`, `4.5 min`, `6.1 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def words(name: str) -> str:
    """Return a name of the files as words: `below_margin` is `below margin`."""
    return name.replace("_", " ")


def reasons(counts: Mapping[str, int]) -> str:
    """Return counts by reason as a list, those of zero left out."""
    return ", ".join(f"{count:,} {words(reason)}" for reason, count in counts.items() if count) or "none"
