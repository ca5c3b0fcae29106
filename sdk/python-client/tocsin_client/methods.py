"""The methods of both clients, as exchanges; the clients' methods have these signatures and docstrings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa

from tocsin_client import expressions
from tocsin_client.exchange import Ask, Exchange, TocsinError, checked
from tocsin_client.expressions import Where

Time = str | int | dt.datetime
POINTS_A_REQUEST = 10_000
_POINT_FIELDS = ("name", "value", "timestamp", "type")


def graph(expr: str, *, start: Time = "e-3h", end: Time = "now", step: str = "") -> Exchange[pd.DataFrame]:
    """Evaluate an expression of the stack language: UTC index, one column a line.

    `attrs` has `tags` and `units` by column, `step_ms` and `notices`.
    """
    params: dict[str, str | int] = {
        "q": expr,
        "s": _time(start),
        "e": _time(end),
        "format": "v2.json",
        "hints": "no-image",
    }
    if step:
        params["step"] = step
    items = checked((yield Ask("GET", "/api/v1/graph", params))).json()
    lines = [item for item in items if item["type"] == "timeseries"]
    units: dict[str, str] = {}
    if any(str(line["tags"].get("name", "")).startswith("qoe.") for line in lines):
        found = yield from dictionary()
        units = {entry["name"]: entry["unit"] for entry in found["metrics"]}
    return _frame(items, lines, units)


def metric(
    name: str, *, by: Sequence[str] = (), where: Where | None = None, compare: str = "", definition: str = "",
    start: Time = "e-3h", end: Time = "now", step: str = "",
) -> Exchange[pd.DataFrame]:  # fmt: skip
    """A metric of the catalogue, such as `rebuffer_ratio`, as `graph` gives it: one column a value of the tags in `by`.

    `where` maps tags to a value or several; `compare="1w"` adds each line of a week ago; `definition` is one of the
    metric's, such as `cirr`.
    """
    found = yield from dictionary()
    entry = expressions.find_metric(name, found["metrics"])
    program = expressions.metric(entry, where or {}, by, definition, compare)
    return (yield from graph(program, start=start, end=end, step=step))


def sql(query: str, /, *, limits: Mapping[str, float] | None = None, **params: Any) -> Exchange[pd.DataFrame]:
    """The rows of one SELECT; `params` are the values of its `{name:Type}` placeholders.

    `limits` may hold `time_s`, `memory_mib` and `rows`.
    """
    bound = {name: _bound(value) for name, value in params.items()}
    body = {"query": query, "params": bound, "format": "arrow", "limits": {"rows": 1_000_000, **(limits or {})}}
    answer = checked((yield Ask("POST", "/v1/sql", json=body)))
    table: pd.DataFrame = pa.ipc.open_stream(answer.content).read_all().to_pandas(maps_as_pydicts="lossy")
    return table


def tags(key: str = "") -> Exchange[list[str]]:
    """The keys of tags, or the values of one key."""
    found: list[str] = []
    params: dict[str, str | int] = {}
    while True:
        path = f"/api/v1/tags/{quote(key, safe='')}" if key else "/api/v1/tags"
        answer = checked((yield Ask("GET", path, params)))
        found += answer.json()
        after = answer.headers.get("x-atlas-next-offset")
        if after is None:
            return found
        params = {"offset": after.encode("latin-1").decode("utf-8")}


def incidents(state: str = "all", *, since: dt.datetime | int = 0, limit: int = 100) -> Exchange[pd.DataFrame]:
    """Incidents (`state` all, open or closed), newest first, one row each; columns `…_ms` are UTC times."""
    params: dict[str, str | int] = {"state": state, "since_ms": _time(since), "limit": limit}
    rows = checked((yield Ask("GET", "/v1/incidents", params))).json()["incidents"]
    frame = pd.DataFrame(rows)
    for name in [name for name in frame.columns if name.endswith("_ms")]:
        times = pd.to_datetime(frame.pop(name), unit="ms", utc=True)
        frame[name.removesuffix("_ms")] = times
    return frame


def dictionary() -> Exchange[dict[str, Any]]:
    """What tables, columns, metrics, tags and cubes mean."""
    found: dict[str, Any] = checked((yield Ask("GET", "/v1/dictionary"))).json()
    return found


def publish(points: pd.DataFrame | Iterable[Mapping[str, Any]]) -> Exchange[int]:
    """Publish points and return how many; a field or column that is not name, value, timestamp or type is a tag.

    Where a frame has no column `timestamp`, its index has the times if they are times; else a point is of now. Raises
    `TocsinError` where the server refuses some: those that it took are stored.
    """
    now_ms = _time(dt.datetime.now(dt.UTC))
    metrics = [_point(row, now_ms) for row in (_rows(points) if isinstance(points, pd.DataFrame) else points)]
    for at in range(0, len(metrics), POINTS_A_REQUEST):
        part = metrics[at : at + POINTS_A_REQUEST]
        answer = checked((yield Ask("POST", "/api/v1/publish", json={"metrics": part}, is_write=True)))
        if answer.content:
            said = answer.json()
            reasons = "; ".join(said["message"])
            raise TocsinError(answer.status_code, f"{said['errorCount']} of {len(part)} points refused: {reasons}")
    return len(metrics)


def _frame(items: list[dict[str, Any]], lines: list[dict[str, Any]], units: Mapping[str, str]) -> pd.DataFrame:
    meta = next(item for item in items if item["type"] == "graph-metadata")
    names: list[str] = []
    for line in lines:
        label = str(line["label"])
        again = sum(name == label or name.startswith(f"{label} (") for name in names)
        names.append(f"{label} ({again + 1})" if label in names else label)
    points = len(lines[0]["data"]["values"]) if lines else 0
    first = pd.Timestamp(meta["startTime"], unit="ms", tz="UTC")
    index = pd.date_range(first, periods=points, freq=pd.Timedelta(meta["step"], unit="ms"), name="time")
    values = {name: [float(value) for value in line["data"]["values"]] for name, line in zip(names, lines, strict=True)}
    frame = pd.DataFrame(values, index=index, dtype="float64")
    of_line = dict(zip(names, lines, strict=True))
    frame.attrs = {
        "tags": {name: line["tags"] for name, line in of_line.items()},
        "units": {name: units.get(line["tags"].get("name", ""), "") for name, line in of_line.items()},
        "step_ms": meta["step"],
        "notices": [*meta["warnings"], *(item["label"] for item in items if item["type"] == "message")],
    }
    return frame


def _rows(points: pd.DataFrame) -> list[dict[Any, Any]]:
    if "timestamp" not in points and isinstance(points.index, pd.DatetimeIndex):
        points = points.assign(timestamp=points.index)
    return points.to_dict("records")


def _point(row: Mapping[Any, Any], now_ms: str | int) -> dict[str, Any]:
    if not {"name", "value"} <= row.keys():
        raise TocsinError(0, f"a point has a name and a value, this one has {', '.join(map(str, row))}")
    own = {str(key): str(value) for key, value in row.items() if key not in _POINT_FIELDS and not _is_missing(value)}
    time = row.get("timestamp")
    return {
        "tags": {"name": str(row["name"]), "atlas.dstype": str(row.get("type", "gauge")), **own},
        "timestamp": now_ms if _is_missing(time) else _time(time),
        "value": float(row["value"]),
    }


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value != value


def _time(time: Any) -> str | int:
    """Epoch milliseconds of a datetime (one without a zone is UTC); text and numbers stay."""
    if not isinstance(time, dt.datetime):
        return time if isinstance(time, str) else int(time)
    aware = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return round(aware.timestamp() * 1_000)


def _bound(value: Any) -> Any:
    """A value as the server binds it: times as UTC text, numpy's and pandas' own as Python's."""
    if isinstance(value, dt.datetime):
        aware = value.astimezone(dt.UTC) if value.tzinfo else value
        return aware.strftime("%Y-%m-%d %H:%M:%S.%f").removesuffix(".000000")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _bound(one) for key, one in value.items()}
    if hasattr(value, "tolist"):
        return _bound(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_bound(one) for one in value]
    return value
