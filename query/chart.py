"""Charts as PNG."""

from __future__ import annotations

from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest


def draw_chart(graph: Graph, request: GraphRequest, look: Look) -> bytes:
    raise NotImplementedError
