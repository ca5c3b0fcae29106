"""`stats.json`: only the statistics of each line."""

from __future__ import annotations

import msgspec

from query.formats import numbers
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest


def write(graph: Graph, request: GraphRequest, look: Look) -> bytes:  # noqa: ARG001
    """The body."""
    stats = [
        {
            "count": line.stats.count,
            "avg": numbers.number(line.stats.avg),
            "total": numbers.number(line.stats.total),
            "max": numbers.number(line.stats.max),
            "min": numbers.number(line.stats.min),
            "last": numbers.number(line.stats.last),
        }
        for line in graph.lines
    ]
    body = {
        "start": graph.grid.first_ms,
        "end": graph.grid.end_ms + graph.grid.step_ms,
        "step": graph.grid.step_ms,
        "legend": [line.label for line in graph.lines],
        "metrics": [dict(sorted(line.tags.items())) for line in graph.lines],
        "stats": stats,
        "notices": list(graph.notices),
    }
    return msgspec.json.encode(body)
