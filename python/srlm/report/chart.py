"""The parts of a chart: a plotly figure, a text alternative, and a table of its data.

Colours are CSS variables of the page, such as `var(--ink)`. The page's script replaces them by their values, so that
one figure serves the light and the dark colour scheme. Text from files is escaped because plotly interprets some HTML.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from srlm.evaluation.estimates import Estimate

ACCENT, MUTED, INK, GRID, BAD = "var(--accent)", "var(--muted)", "var(--ink)", "var(--grid)", "var(--bad)"
PALE = "var(--m2)"
MODEL_COLOURS = 6  # the number of colours --m1 to --m6 in style.css


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings; the first column is the row header."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the page. `message` describes it in words, as its text alternative for screen readers."""

    id: str
    title: str
    message: str
    figure: dict[str, Any]
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page: groups of charts, each with a title (may be empty), then tables.

    `empty` is the text of a section without charts and tables.
    """

    id: str
    title: str
    intro: str
    groups: list[tuple[str, list[Chart]]] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)
    empty: str = "Not measured in this run."

    @property
    def charts(self) -> list[Chart]:
        """The charts of all groups."""
        return [chart for _, charts in self.groups for chart in charts]


def escape(text: str) -> str:
    """Escape text from a file for plotly."""
    return html.escape(text, quote=False)


def model_colour(index: int, count: int) -> str:
    """Return the colour of model `index` of `count`: from pale for the first to the accent colour for the last."""
    return f"var(--m{MODEL_COLOURS if count < 2 else 1 + round(index * (MODEL_COLOURS - 1) / (count - 1))})"


def error_bars(found: Sequence[Estimate], colour: str, *, horizontal: bool = False) -> dict[str, Any]:
    """Return error bars for intervals, as `error_y` or `error_x` of a trace."""
    above = [0.0 if one.high is None or one.value is None else one.high - one.value for one in found]
    below = [0.0 if one.low is None or one.value is None else one.value - one.low for one in found]
    bar = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour, "width": 0}
    return {"error_x" if horizontal else "error_y": bar}


def build_figure(
    traces: Iterable[Any],
    *,
    height: int = 260,
    xaxis: dict[str, Any] | None = None,
    yaxis: dict[str, Any] | None = None,
    **layout: Any,  # noqa: ANN401  layout keywords of plotly
) -> dict[str, Any]:
    """Return a plotly figure in the page's style as plain JSON data; plotly validates the keywords."""
    data = list(traces)
    top = 28 if layout.get("showlegend", len(data) > 1) else 18
    axes = {"xaxis": _AXIS | (xaxis or {}), "yaxis": _AXIS | (yaxis or {})}
    return dict(go.Figure(data, layout=_layout(height, top) | axes | layout).to_plotly_json())


def reference_line(value: float, text: str = "", *, colour: str = MUTED, horizontal: bool = True) -> dict[str, Any]:
    """Return layout entries for a dotted line across the plot, with `text` at its end."""
    line = {"color": colour, "width": 1, "dash": "dot"}
    if horizontal:
        shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}
        note = {"xref": "paper", "x": 1, "xanchor": "right", "y": value, "yanchor": "bottom"}
    else:
        shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": value, "x1": value, "line": line}
        note = {"yref": "paper", "y": 1, "yanchor": "bottom", "x": value}
    return {"shapes": [shape], "annotations": [{**note, "text": text, "showarrow": False, "font": {"color": colour}}]}


_AXIS = {"gridcolor": GRID, "zeroline": False, "fixedrange": True, "automargin": True}


def _layout(height: int, top: int) -> dict[str, Any]:
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": MUTED},
        "colorway": [ACCENT, MUTED, INK],
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": GRID, "font": {"color": INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "dragmode": False,
        "bargap": 0.2,
    }
