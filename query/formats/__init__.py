"""Formats of a graph, one file each, found here by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from query.formats import png, stats_json, table, v2_json, values_json
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest


@dataclass(frozen=True, slots=True)
class Format:
    """How a graph is written: `write` gives the bytes of the body."""

    content_type: str
    write: Callable[[Graph, GraphRequest, Look], bytes]


FORMATS: dict[str, Format] = {
    "csv": Format("text/csv", table.comma_separated),
    "txt": Format("text/plain", table.tab_separated),
    "json": Format("application/json", values_json.write),
    "std.json": Format("application/json", values_json.write),
    "stats.json": Format("application/json", stats_json.write),
    "v2.json": Format("application/json", v2_json.write),
    "png": Format("image/png", png.write),
}
