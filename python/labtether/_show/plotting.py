"""The picture of `link.watch()`: readings against time, in colours that read on light and dark. Drawn with matplotlib's
own canvas: nothing of pyplot, so no figure of the user's is touched and none is left open."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from labtether._show.blocks import TONES, card, faint, heading, problem_line
from labtether._show.markup import Html, shortened, tag, void_tag

__all__ = ["drawn", "plot_html"]

WIDTH, HEIGHT = 8.4, 3.0
"""Inches, as matplotlib counts."""

DOTS = 120
"""Dots per inch: half as many again as are shown, for fine screens. More cost more time than is seen."""

_LINES = [TONES["calm"], "#c96a12", TONES["good"], "#9467bd", "#b5537f", "#0e8a8a"]
_GREY = TONES["plain"]
_IMAGE = f"width:100%;max-width:{WIDTH * DOTS / 1.5:.0f}px;display:block"
_FEW = 60
"""Up to so many readings are marked one by one."""

OVERRANGE = 1e30
"""Instruments say 9.9e37 (SCPI) and the like where they have no value."""

Series = tuple[Sequence[float], Sequence[Sequence[float]]]
"""The times in seconds, and the values of each line."""


def drawn(series: Series, ylabel: str) -> bytes:
    """A PNG. Its ground is transparent and its ink a middle grey, so that it stands on any page."""
    times, lines = series
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS, layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
    for number, values in enumerate(lines):
        mark = "." if len(times) <= _FEW else ""
        colour = _LINES[number % len(_LINES)]
        # Marks of overrange are no values, and no axis reaches that far.
        shown = [value if abs(value) < OVERRANGE else math.nan for value in values]
        axes.plot(times, shown, color=colour, linewidth=1.4, marker=mark, label=f"{number + 1}")
    # A `$` in a command is no formula.
    axes.set_xlabel("time [s]", color=_GREY)
    axes.set_ylabel(ylabel, color=_GREY, parse_math=False)
    axes.grid(True, color=_GREY, alpha=0.25, linewidth=0.6)
    axes.tick_params(colors=_GREY, labelsize=9)
    # The whole value at each tick: an offset in a corner is not read.
    axes.ticklabel_format(useOffset=False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_GREY)
    if len(lines) > 1:
        axes.legend(frameon=False, labelcolor=_GREY, fontsize=9, ncols=len(lines), loc="best")
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
    return picture.getvalue()


def plot_html(
    title: str, state: str, latest: str, counted: str, png: bytes | None, alt: str, problem: str | None
) -> Html:
    """The card around a plot."""
    if png is None:
        image = tag("div", faint("no reading yet"))
    else:
        source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
        image = void_tag("img", src=source, alt=alt, style=_IMAGE)
    wrong = None if problem is None else problem_line(shortened(problem, 500))
    return card(heading("plot", title, state, latest, counted), image, wrong)
