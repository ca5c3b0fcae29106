"""`v2.json`: everything that a chart needs, item by item: image, graph, axes, lines, remarks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from query.formats import numbers, png
from query.heatmap import Heatmap, heatmap
from query.params import LAYOUTS, SCALES, AxisLook, Look
from tocsin.model.asl.graph import Graph, GraphLine, GraphRequest, Plot
from tocsin.model.asl.text import java_double, parse_double, substitute
from tocsin.model.asl.units import decimal_text


def line_id(tags: Mapping[str, str], query: str) -> str:
    """The identity of a line: SHA-1 over its sorted tags and the program that made it."""
    pairs = sorted({**tags, "atlas.query": query}.items())
    text = ",".join(f"{k}={v}" for k, v in pairs)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def common_tags(lines: list[GraphLine]) -> dict[str, str]:
    """Tags that all lines share: what `$key` in a title or an axis label stands for."""
    if not lines:
        return {}
    shared = set(lines[0].tags.items())
    for line in lines[1:]:
        shared &= set(line.tags.items())
    return dict(shared)


def write(graph: Graph, request: GraphRequest, look: Look) -> bytes:
    """The body."""
    items: list[Mapping[str, Any]] = []
    if "no-image" not in look.hints:
        image = base64.b64encode(png.write(graph, request, look)).decode()
        items.append({"type": "graph-image", "data": f"data:image/png;base64,{image}"})
    items.append(graph_metadata(graph, request, look))
    several = len(graph.plots) > 1 and "ambiguous-multi-y" not in look.hints
    for i, plot in enumerate(graph.plots):
        items.append(axis_metadata(i, plot, look.axes[plot.axis], several))
        heat = heatmap(plot, look.axes[plot.axis], look.height)
        if heat is not None:
            items.append(heatmap_item(i, heat, look.axes[plot.axis]))
    for i, plot in enumerate(graph.plots):
        items.extend(_lines(i, plot))
    return msgspec.json.encode(items)


def graph_metadata(graph: Graph, request: GraphRequest, look: Look) -> dict[str, Any]:
    """Range, step and size."""
    item: dict[str, Any] = {
        "type": "graph-metadata",
        "startTime": graph.grid.first_ms,
        "endTime": graph.grid.end_ms + graph.grid.step_ms,
        "timezones": list(request.zones),
        "step": graph.grid.step_ms,
        "width": look.width,
        "height": look.height,
        "layout": LAYOUTS[look.layout],
        "zoom": look.zoom,
        "legendType": look.legend_type,
        "onlyGraph": look.only_graph,
        "theme": look.theme,
        "warnings": list(graph.notices),
    }
    if look.title is not None:
        item["title"] = substitute(look.title, common_tags(graph.lines))
    if look.hints:
        item["renderingHints"] = list(dict.fromkeys(look.hints))
    return item


def axis_metadata(index: int, plot: Plot, look: AxisLook, several: bool) -> dict[str, Any]:
    """One value axis."""
    item: dict[str, Any] = {
        "type": "plot-metadata",
        "id": index,
        "scale": SCALES[look.scale],
        "upper": _bound(look.upper),
        "lower": _bound(look.lower),
        "tickLabelMode": look.tick_labels.upper(),
    }
    if look.label is not None:
        item["ylabel"] = substitute(look.label, common_tags(list(plot.lines)))
    if several and plot.lines:
        item["axisColor"] = plot.lines[0].colour
    return item


def heatmap_item(index: int, heat: Heatmap, look: AxisLook) -> dict[str, Any]:
    """A heat map: its cells' bounds, what its colours stand for, and the counts point by point."""
    item: dict[str, Any] = {
        "type": "heatmap",
        "plot": index,
        "colorScale": SCALES[look.heatmap_scale],
        "upper": _bound(look.heatmap_upper),
        "lower": _bound(look.heatmap_lower),
    }
    if heat.label:
        item["label"] = heat.label
    item["yTicks"] = [
        {"min": low, "max": high, "label": label} for low, (high, label) in zip(heat.edges, heat.ticks, strict=False)
    ]
    item["colorTicks"] = [
        {"color": shade, "min": low, "max": high, "label": decimal_text(high)}
        for shade, low, high in zip(heat.shades, heat.bounds, heat.bounds[1:], strict=False)
    ]
    item["data"] = {"type": "heatmap", "values": numbers.rows(heat.counts)}
    return item


def _bound(text: str) -> str:
    value = parse_double(text)
    return text if value is None else java_double(value)


def _lines(index: int, plot: Plot) -> Iterator[dict[str, Any]]:
    for line in plot.lines:
        item: dict[str, Any] = {
            "type": "timeseries",
            "id": line_id(line.tags, line.query),
            "plot": index,
            "label": line.label,
            "color": line.colour,
            "lineStyle": line.line_style.upper(),
            "lineWidth": line.style.line_width,
            "query": line.query,
        }
        if line.style.expr.grouping:
            item["groupByKeys"] = list(line.style.expr.grouping)
        item["tags"] = dict(line.tags)
        item["data"] = {"type": "array", "values": numbers.rows(line.values[None, :])[0]}
        yield item
    for message in plot.messages:
        yield {"type": "message", "plot": index, "label": message, "color": "ff000000"}
