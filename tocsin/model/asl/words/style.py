"""Words on how an expression is shown: legend, colour, line style, axis, order."""

from __future__ import annotations

import re
from typing import Any

from tocsin.model.asl.colours import argb, is_hex_colour, with_alpha
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import show_list
from tocsin.model.asl.series_expr import SeriesExpr
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.vocabulary import SERIES, STRING, STRINGS, STYLED, Param, Value, Word, macro, pure
from tocsin.model.asl.words.filter import filtered
from tocsin.model.asl.words.stateful import EPIC_PARAMS

GROUP = "style"
_T = Param("", STYLED)
_V = Param("v", STRING)
_EXAMPLE = "name,qoe.sps,:eq,:sum"
_GROUPED = "name,qoe.sps,:eq,:sum,(,device,),:by"


def _setting(name: str, doc: str, *examples: str) -> Word:
    def make(styled: StyleExpr, value: str) -> StyleExpr:
        return styled.with_(name, value)

    return Word(name, GROUP, (_T, _V), "StyleExpr", doc, pure(make), examples)


def _style(name: str, doc: str) -> Word:
    return macro(name, GROUP, f"{name},:ls", (_T,), "StyleExpr", doc, _EXAMPLE, _GROUPED)


def _alpha(styled: StyleExpr, value: str) -> StyleExpr:
    colour = styled.get("color")
    if colour is None or not is_hex_colour(colour):
        return styled.with_("alpha", value)
    return styled.with_("color", with_alpha(colour, value), without=("alpha",))


def _colour(styled: StyleExpr, value: str) -> StyleExpr:
    if not is_hex_colour(value) and not re.fullmatch(r"[a-zA-Z]+\d*", value):
        raise AslError(f"invalid colour '{value}': write f00, ff0000, 80ff0000 or a name such as blue1")
    text = argb(value) if is_hex_colour(value) else value
    return styled.with_("color", text, without=("alpha", "palette"))


def _palette(styled: StyleExpr, value: Any) -> StyleExpr:
    text = value if isinstance(value, str) else show_list(value)
    return styled.with_("palette", text, without=("color", "alpha"))


def _sed(styled: StyleExpr, command: str) -> StyleExpr:
    before = styled.get("sed")
    return styled.with_("sed", command if before is None else f"{before},{command}")


def _filter_styled(styled: StyleExpr, condition: SeriesExpr) -> Value:
    return styled.with_expr(filtered(styled.expr, condition))


def _word(name: str, params: tuple[Param, ...], make: Any, doc: str, *examples: str) -> Word:
    return Word(name, GROUP, (_T, *params), "StyleExpr", doc, pure(make), examples)


EPIC_VIZ = ":des-epic-signal,:vspan,40,:alpha,triggered,:legend,line,:get,line,:legend," + ",".join(
    f"{bound},:get,{bound},:legend"
    for bound in ("minPredNoiseBound", "minPredPercentBound", "maxPredNoiseBound", "maxPredPercentBound")
)

WORDS = (
    _setting(
        "legend",
        "The text of the legend. `$key` and `$(key)` stand for tags, `$(atlas.offset)` for the time shift, "
        "`$(atlas.max)` and its like for statistics.",
        f"{_GROUPED},$device",
    ),
    _word(
        "decode",
        (Param("mode", STRING),),
        lambda t, mode: _sed(t, f"{mode},:decode"),
        "Decode the legend: hex turns `_21` into `!`, none leaves it.",
        "1,one_21_25_26_3F,:legend,hex",
    ),
    _word(
        "s",
        (Param("s", STRING), Param("r", STRING)),
        lambda t, s, r: _sed(t, f"{s},{r},:s"),
        "Search a pattern in the legend and replace it; `$1` and `$name` stand for groups of the pattern.",
        f"{_GROUPED},$device,:legend,^t(.*)$,$1",
    ),
    _setting("axis", "Which value axis, from 0 to 4.", f"{_EXAMPLE},1"),
    Word(
        "offset",
        GROUP,
        (_T, Param("offsets", STRINGS)),
        "StyleExpr",
        "The same expression once for each time shift of a list.",
        pure(lambda t, offsets: t.with_("offset", show_list(offsets))),
        (f"{_EXAMPLE},(,0h,1d,1w,)",),
        deprecated="use :offset with one duration",
    ),
    Word(
        "filter",
        GROUP,
        (_T, Param("t2", SERIES)),
        "StyleExpr",
        "Only lines for which the condition is not 0 at some point, after settings were made.",
        pure(_filter_styled),
        (f"{_GROUPED},$device,:legend,:stat-max,30,:gt",),
        fits=lambda stack: isinstance(stack[-2], StyleExpr),
    ),
    _setting("sort", "Order of the legend: by legend, min, max, avg, count, total or last.", f"{_GROUPED},max"),
    _setting("order", "asc or desc.", f"{_GROUPED},desc"),
    _setting("limit", "At most so many lines, the first by the order.", f"{_GROUPED},3"),
    macro("head", GROUP, ":limit", (_T, Param("n", STRING)), "StyleExpr", "At most so many lines.", f"{_GROUPED},2"),
    _word("alpha", (_V,), _alpha, "Opacity, 00 to ff.", f"{_EXAMPLE},40", f"{_EXAMPLE},f00,:color,40"),
    _word(
        "color",
        (_V,),
        _colour,
        "Colour as f00, ff0000, 80ff0000 (opacity first), or by name (blue1).",
        f"{_EXAMPLE},f00",
        f"{_EXAMPLE},blue1",
    ),
    Word(
        "palette",
        GROUP,
        (_T, _V),
        "StyleExpr",
        "Colours for the lines, by the name of a palette or as a list.",
        pure(_palette),
        (f"{_GROUPED},reds",),
    ),
    Word(
        "palette",
        GROUP,
        (_T, Param("colors", STRINGS)),
        "StyleExpr",
        "Colours for the lines, as a list.",
        pure(_palette),
        (f"{_GROUPED},(,1a9850,d73027,)",),
    ),
    _setting("ls", "Line style: line, area, stack, vspan or heatmap.", f"{_GROUPED},stack"),
    _setting("lw", "Width of the stroke in pixels.", f"{_EXAMPLE},2"),
    _style("area", "Fill down to 0."),
    _style("line", "Draw a line."),
    _style("stack", "Fill on top of the stacked lines before."),
    _style("heatmap", "Shade by how many lines have a value there."),
    macro(
        "percentiles-heatmap",
        GROUP,
        "(,percentile,),:cg,heatmap,:ls",
        (_T,),
        "StyleExpr",
        "Shade a distribution by its buckets.",
        "name,qoe.startup,:eq",
    ),
    _style("vspan", "Shade the times at which the value is not 0."),
    macro(
        "des-epic-viz",
        GROUP,
        EPIC_VIZ,
        EPIC_PARAMS,
        "StyleExpr *",
        "A line, the bounds around its smoothed prediction, and spans where it leaves them.",
        f"{_EXAMPLE},10,0.1,0.5,0.2,0.2,4",
    ),
    Word(
        "strip-style",
        GROUP,
        (_T,),
        "TimeSeriesExpr",
        "Drop all settings.",
        pure(lambda t: t.expr),
        (f"{_EXAMPLE},f00,:color",),
    ),
)
