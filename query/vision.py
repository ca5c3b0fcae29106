"""`vision=`: the colours of a graph as people with a colour vision deficiency see them, to check that lines stay apart.

Each kind is a matrix from RGB to RGB, by the published Color Matrix table (colorjack.com), as the original uses it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tocsin.model.asl.errors import AslError, nearest
from tocsin.model.asl.graph import Graph

Matrix = tuple[tuple[float, float, float], ...]
VISIONS: dict[str, Matrix] = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.567, 0.433, 0.0), (0.558, 0.442, 0.0), (0.0, 0.242, 0.758)),
    "protanomaly": ((0.817, 0.183, 0.0), (0.333, 0.667, 0.0), (0.0, 0.125, 0.875)),
    "deuteranopia": ((0.625, 0.375, 0.0), (0.7, 0.3, 0.0), (0.0, 0.3, 0.7)),
    "deuteranomaly": ((0.8, 0.2, 0.0), (0.258, 0.742, 0.0), (0.0, 0.142, 0.858)),
    "tritanopia": ((0.95, 0.05, 0.0), (0.0, 0.433, 0.567), (0.0, 0.475, 0.525)),
    "tritanomaly": ((0.967, 0.033, 0.0), (0.0, 0.733, 0.267), (0.0, 0.183, 0.817)),
    "achromatopsia": ((0.299, 0.587, 0.114),) * 3,
    "achromatomaly": ((0.618, 0.32, 0.062), (0.163, 0.775, 0.062), (0.163, 0.32, 0.516)),
}


def vision(name: str) -> Callable[[str], str]:
    """How a colour (ARGB in hex) looks to somebody with this vision. Raises `AslError` for a name that is unknown."""
    if name not in VISIONS:
        raise AslError(f"unknown vision '{name}', should be {', '.join(VISIONS)}{nearest(name, VISIONS)}")
    matrix = VISIONS[name]

    def seen(argb: str) -> str:
        rgb = [int(argb[i : i + 2], 16) for i in (2, 4, 6)]
        mixed = (int(sum(share * part for share, part in zip(row, rgb, strict=True))) for row in matrix)
        return argb[:2] + "".join(f"{part:02x}" for part in mixed)

    return seen


def seen_as(graph: Graph, name: str) -> Graph:
    """The graph with the colours of its lines so."""
    seen = vision(name)
    plots = [
        dataclasses.replace(
            plot, lines=tuple(dataclasses.replace(line, colour=seen(line.colour)) for line in plot.lines)
        )
        for plot in graph.plots
    ]
    return dataclasses.replace(graph, plots=tuple(plots))
