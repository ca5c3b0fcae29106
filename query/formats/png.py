"""`png`: the chart."""

from __future__ import annotations

from query.chart import draw_chart
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest


def write(graph: Graph, request: GraphRequest, look: Look) -> bytes:
    """The body."""
    return draw_chart(graph, request, look)
