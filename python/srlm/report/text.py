"""Number formatting: a metric looks the same in a table, a chart and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from srlm.evaluation.estimates import Estimate

NumberFormat = Literal["percent", "number", "loss", "count", "seconds", "text"]
MISSING = "not measured"
ABSENT = "-"  # not applicable: there is nothing to measure


def format_number(value: float | str | None, fmt: NumberFormat) -> str:
    """Return a value as text; `percent` takes a fraction between 0 and 1."""
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
    }[fmt]


def with_interval(found: Estimate, fmt: NumberFormat = "percent") -> str:
    """Return an estimate with its 95 % interval: `58.3 % (51.0 to 65.1)`."""
    if found.value is None or found.low is None or found.high is None:
        return format_number(found.value, fmt)
    return f"{format_number(found.value, fmt)} ({interval(found.low, found.high, fmt)})"


def interval(low: float, high: float, fmt: NumberFormat = "percent") -> str:
    """Return the bounds of an interval without units: `51.0 to 65.1`."""
    return " to ".join(format_number(bound, fmt).removesuffix(" %") for bound in (low, high))


def signed(value: float, fmt: NumberFormat) -> str:
    """Return a difference with its sign, `0` if it rounds to zero; for percentages, in percentage points."""
    text = format_number(abs(value), fmt).replace(" %", " points")
    return f"{'-' if value < 0 else '+'}{text}" if text.strip("0. spoint") else "0"


def duration(seconds: float) -> str:
    """Return a duration in a suitable unit: `12.3 s`, `4.5 min`, `6.1 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def humanize(name: str) -> str:
    """Return an identifier of the files with spaces: `below_margin` becomes `below margin`."""
    return name.replace("_", " ")


def join_counts(counts: Mapping[str, int]) -> str:
    """Return counts by reason as one line, without those that are zero."""
    return ", ".join(f"{count:,} {humanize(reason)}" for reason, count in counts.items() if count) or "none"
