"""Query parameters of the graph API to a request: what to evaluate, and how to draw it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import QueryParams

from tocsin.model.asl.errors import AslError, AslNotFoundError, nearest
from tocsin.model.asl.graph import MAX_AXES, AxisSettings, GraphRequest
from tocsin.model.asl.text import parse_double, parse_int

SCALES = {"linear": "LINEAR", "log": "LOGARITHMIC", "log-linear": "LOG_LINEAR", "pow2": "POWER_2", "sqrt": "SQRT"}
LAYOUTS = {"canvas": "CANVAS", "image": "IMAGE", "iw": "IMAGE_WIDTH", "ih": "IMAGE_HEIGHT"}
TICK_LABELS = ("off", "decimal", "binary", "duration")
MAX_PIXELS = 4_000
MAX_ZOOM = 4.0


@dataclass(frozen=True, slots=True)
class AxisLook:
    """How one value axis is drawn; bounds are texts as given: `auto-style`, `auto-data` or a number."""

    upper: str = "auto-style"
    lower: str = "auto-style"
    scale: str = "linear"
    label: str | None = None
    tick_labels: str = "decimal"
    heatmap_scale: str = "linear"
    heatmap_upper: str = "auto-style"
    heatmap_lower: str = "auto-style"
    heatmap_palette: str | None = None
    heatmap_label: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How a graph is drawn."""

    title: str | None = None
    width: int = 700
    height: int = 300
    zoom: float = 1.0
    theme: str = "light"
    layout: str = "canvas"
    legend: bool = True
    legend_stats: bool = True
    only_graph: bool = False
    band: str | None = None
    hints: tuple[str, ...] = ()
    vision: str = "normal"
    axis_per_line: bool = False
    axes: tuple[AxisLook, ...] = (AxisLook(),) * MAX_AXES

    @property
    def legend_type(self) -> str:
        """How much the legend shows."""
        if not self.legend:
            return "OFF"
        return "LABELS_WITH_STATS" if self.legend_stats else "LABELS_ONLY"


def _size(params: QueryParams, key: str, default: int) -> int:
    text = params.get(key)
    if text is None:
        return default
    value = parse_int(text)
    if value is None:
        raise AslError(f"{key} must be a whole number of pixels, not '{text}'")
    if not 0 < value <= MAX_PIXELS:
        raise AslError(f"{key} must be from 1 to {MAX_PIXELS} pixels, not {value}")
    return value


def _of_axis(params: QueryParams, key: str, axis: int) -> str | None:
    return params.get(f"{key}.{axis}", params.get(key))


def _look_of_axis(params: QueryParams, axis: int) -> AxisLook:
    old_log = "log" if _of_axis(params, "o", axis) == "1" else "linear"
    scale = _scale(_of_axis(params, "scale", axis) or old_log)
    ticks = (_of_axis(params, "tick_labels", axis) or "decimal").lower()
    if ticks not in TICK_LABELS:
        raise AslError(f"tick_labels: unknown value '{ticks}', acceptable values are {', '.join(TICK_LABELS)}")
    label = _of_axis(params, "ylabel", axis) or None
    upper, lower = _bounds(params, axis, "u", "l")
    heat_upper, heat_lower = _bounds(params, axis, "heatmap_u", "heatmap_l")
    heat_palette, heat_label = (_of_axis(params, f"heatmap_{key}", axis) for key in ("palette", "label"))
    heat_scale = _scale(_of_axis(params, "heatmap_scale", axis) or "linear")
    return AxisLook(
        upper, lower, scale, label, ticks, heat_scale, heat_upper, heat_lower, heat_palette or None, heat_label or None
    )


def _scale(name: str) -> str:
    if name not in SCALES:
        raise AslError(f"unknown scale type '{name}', should be {', '.join(SCALES)}{nearest(name, SCALES)}")
    return name


def _bounds(params: QueryParams, axis: int, upper: str, lower: str) -> tuple[str, str]:
    """Both bounds as texts; explicit ones must leave something between them."""
    texts = {key: _of_axis(params, key, axis) or "auto-style" for key in (upper, lower)}
    values = {key: parse_double(text) for key, text in texts.items()}
    for key, text in texts.items():
        if text not in ("auto-style", "auto-data") and values[key] is None:
            raise AslError(f"axis bound {key} must be auto-style, auto-data or a number, not '{text}'")
    high, low = values[upper], values[lower]
    if high is not None and low is not None and not low < high:
        raise AslError(f"lower bound must be less than upper bound ({lower}={low:g} >= {upper}={high:g})")
    return texts[upper], texts[lower]


def _settings_of_axis(params: QueryParams, axis: int) -> AxisSettings:
    return AxisSettings(
        palette=params.get(f"palette.{axis}"),
        stack=_of_axis(params, "stack", axis) == "1",
        sort=_of_axis(params, "sort", axis),
        descending=_of_axis(params, "order", axis) == "desc",
        binary_units=(_of_axis(params, "tick_labels", axis) or "").lower() == "binary",
        heatmap_palette=_of_axis(params, "heatmap_palette", axis),
    )


def graph_request(params: QueryParams, *, default_start: str = "e-3h") -> GraphRequest:
    """The request of a URL. Raises `AslError` for a parameter that cannot be used."""
    q = params.get("q")
    if not q:
        raise AslError("missing required parameter 'q'")
    return GraphRequest(
        q=q,
        start=params.get("s", default_start),
        end=params.get("e", "now"),
        step=params.get("step"),
        zones=tuple(params.getlist("tz")) or ("UTC",),
        width=_size(params, "w", 700),
        theme=params.get("theme", "light"),
        palette=params.get("palette"),
        cq=params.get("cq"),
        axes={axis: _settings_of_axis(params, axis) for axis in range(MAX_AXES)},
    )


def look(params: QueryParams) -> Look:
    """How to draw the graph of a URL."""
    zoom = parse_double(params.get("zoom", "1.0"))
    if zoom is None or not 0 < zoom <= MAX_ZOOM:
        raise AslError(f"zoom must be a number above 0, at most {MAX_ZOOM:g}, not '{params.get('zoom')}'")
    layout = params.get("layout", "canvas")
    if layout not in LAYOUTS:
        raise AslError(f"unknown layout: {layout}; it is {', '.join(LAYOUTS)}")
    hints = (h.strip() for h in params.get("hints", "").split(","))
    return Look(
        title=params.get("title") or None,
        width=_size(params, "w", 700),
        height=_size(params, "h", 300),
        zoom=zoom,
        theme=params.get("theme", "light"),
        layout=layout,
        legend=params.get("no_legend") != "1",
        legend_stats=params.get("no_legend_stats") != "1",
        only_graph=params.get("only_graph") == "1",
        band=params.get("band"),
        hints=tuple(h for h in hints if h),
        vision=params.get("vision", "normal"),
        axis_per_line=params.get("axis_per_line") == "1",
        axes=tuple(_look_of_axis(params, axis) for axis in range(MAX_AXES)),
    )


def unknown_format(name: str, known: tuple[str, ...]) -> AslNotFoundError:
    """The error for a format that does not exist."""
    return AslNotFoundError(f"key not found: format '{name}' is none of {', '.join(known)}{nearest(name, known)}")
