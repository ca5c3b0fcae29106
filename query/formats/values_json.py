"""`json` and `std.json`: legends, tags and values point by point."""

from __future__ import annotations

import msgspec
import numpy as np

from query.formats import numbers
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest


def write(graph: Graph, request: GraphRequest, look: Look) -> bytes:  # noqa: ARG001
    """The body."""
    lines = graph.lines
    points = (graph.grid.end_ms - graph.grid.start_ms) // graph.grid.step_ms
    values = np.stack([line.values for line in lines], axis=1) if lines else np.empty((points, 0))
    body = {
        "start": graph.grid.first_ms,
        "step": graph.grid.step_ms,
        "legend": [line.label for line in lines],
        "metrics": [dict(sorted(line.tags.items())) for line in lines],
        "values": numbers.rows(values),
        "notices": list(graph.notices),
    }
    if graph.incomplete_from_ms is not None:
        body["incompleteFrom"] = graph.incomplete_from_ms
    return msgspec.json.encode(body)
