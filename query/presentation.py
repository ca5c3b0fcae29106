"""What a request changes of an evaluated graph: an axis a line, and the colours as somebody else sees them."""

from __future__ import annotations

import dataclasses

from query.params import Look
from query.vision import seen_as
from tocsin.model.asl.graph import MAX_AXES, Graph, Plot


def presented(graph: Graph, look: Look) -> Graph:
    """The graph as it is to be shown."""
    seen = seen_as(graph, look.vision)
    return _axis_per_line(seen) if look.axis_per_line else seen


def _axis_per_line(graph: Graph) -> Graph:
    """Every line on an axis of its own, where there are enough of them; else a remark."""
    lines = graph.lines
    if len(graph.plots) > 1:
        return _with_notice(graph, "axisPerLine cannot be used with explicit multi axis")
    if len(lines) > MAX_AXES:
        return _with_notice(graph, f"Too many Y-axes, {len(lines)} > {MAX_AXES}, axis per line disabled.")
    messages = [plot.messages for plot in graph.plots] + [()] * len(lines)
    plots = tuple(Plot(i, (line,), messages[i]) for i, line in enumerate(lines))
    return dataclasses.replace(graph, plots=plots or graph.plots)


def _with_notice(graph: Graph, text: str) -> Graph:
    return dataclasses.replace(graph, notices=(text, *graph.notices))
