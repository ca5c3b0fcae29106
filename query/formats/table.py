"""`csv` and `txt`: a row a point, a column a line, six decimals."""

from __future__ import annotations

import datetime as dt

from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest
from tocsin.model.asl.text import java_fixed


def _time(ms: int, zone: dt.tzinfo) -> str:
    moment = dt.datetime.fromtimestamp(ms / 1000, zone)
    text = moment.isoformat(timespec="seconds" if ms % 1000 == 0 else "milliseconds")
    return text.removesuffix("+00:00") + "Z" if moment.utcoffset() == dt.timedelta(0) else text


def _write(graph: Graph, separator: str) -> bytes:
    lines = graph.lines
    rows = [separator.join(['"timestamp"', *(f'"{line.label}"' for line in lines)])]
    for i, ms in enumerate(range(graph.grid.first_ms, graph.grid.end_ms + 1, graph.grid.step_ms)):
        values = (java_fixed(float(line.values[i]), 6) for line in lines)
        rows.append(separator.join([_time(ms, graph.grid.zone), *values]))
    return ("\n".join(rows) + "\n").encode()


def comma_separated(graph: Graph, request: GraphRequest, look: Look) -> bytes:  # noqa: ARG001
    """The body of `csv`."""
    return _write(graph, ",")


def tab_separated(graph: Graph, request: GraphRequest, look: Look) -> bytes:  # noqa: ARG001
    """The body of `txt`."""
    return _write(graph, "\t")
