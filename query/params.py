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
    scale = _of_axis(params, "scale", axis) or old_log
    if scale not in SCALES:
        raise AslError(f"unknown scale type '{scale}', should be {', '.join(SCALES)}{nearest(scale, SCALES)}")
    ticks = (_of_axis(params, "tick_labels", axis) or "decimal").lower()
    if ticks not in TICK_LABELS:
        raise AslError(f"tick_labels: unknown value '{ticks}', acceptable values are {', '.join(TICK_LABELS)}")
    bounds = []
    for key in ("u", "l"):
        text = _of_axis(params, key, axis) or "auto-style"
        if text not in ("auto-style", "auto-data") and parse_double(text) is None:
            raise AslError(f"axis bound {key} must be auto-style, auto-data or a number, not '{text}'")
        bounds.append(text)
    return AxisLook(bounds[0], bounds[1], scale, _of_axis(params, "ylabel", axis) or None, ticks)


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
        axes=tuple(_look_of_axis(params, axis) for axis in range(MAX_AXES)),
    )


def unknown_format(name: str, known: tuple[str, ...]) -> AslNotFoundError:
    """The error for a format that does not exist."""
    return AslNotFoundError(f"key not found: format '{name}' is none of {', '.join(known)}{nearest(name, known)}")
