"""Bodies of `POST /api/v1/publish`: Atlas's JSON of points, into points and the reasons why others were not taken.

    {"tags": {common}, "metrics": [{"tags": {"name": …, "atlas.dstype": "gauge"}, "timestamp": ms, "value": x}, …]}

The rules and their messages are those of Atlas's publish API (PublishApi.scala; reference.conf, atlas.webapi.publish):
a name, lengths of keys and values, at most 20 tags, reserved prefixes, an age of at most one step. As there, a point
without `atlas.dstype` is a rate, and characters outside `-._A-Za-z0-9^~` become `_`. The prefix `qoe.` is refused: it
is the catalogue's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import msgspec

from ingest.formats.heartbeat import BodyError, fault_of
from tocsin.model.points import Point, PointType

METRICS_MAX = 50_000
USER_TAGS_MAX = 20
KEY_LENGTH = range(2, 61)
NAME_LENGTH = range(2, 256)
VALUE_LENGTH = range(1, 121)
OWN_PREFIX = "qoe."
SUMMARY_MAX = 5
"""Failures spelt out in an answer, as in Atlas."""
_ATLAS_KEYS = frozenset({"atlas.aggr", "atlas.dstype", "atlas.offset", "atlas.legacy"})
_STRANGE = re.compile(r"[^-._A-Za-z0-9^~]")
_TYPES: tuple[PointType, ...] = get_args(PointType)


class Metric(msgspec.Struct):
    """One point as Atlas writes it."""

    tags: dict[str, str]
    timestamp: int
    value: float


class Payload(msgspec.Struct):
    """One request: points, and tags that all of them share."""

    metrics: list[Metric]
    tags: dict[str, str] = {}


@dataclass(slots=True)
class Published:
    """A body taken apart: `total` points seen, the good ones, and a line for each of the others."""

    total: int = 0
    points: list[Point] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


_decode = msgspec.json.Decoder(Payload).decode


def parse(body: bytes, now_ms: int, age_ms_max: int | None) -> Published:
    """Take a body apart; `age_ms_max` None takes points of any age. Raises `BodyError` where it is no payload."""
    try:
        payload = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BodyError(*fault_of(error)) from error
    if len(payload.metrics) > METRICS_MAX:
        raise BodyError("metrics", f"more than {METRICS_MAX} points in one request; send them in several", "events")
    published = Published(len(payload.metrics))
    for metric in payload.metrics:
        tags = {_plain(key): _plain(value) for key, value in {**payload.tags, **metric.tags}.items()}
        fault = _age_fault(metric.timestamp, now_ms, age_ms_max) or _tags_fault(tags) or _value_fault(metric.value)
        if fault:
            published.failures.append(f"{fault} (tags={json.dumps(tags)})")
            continue
        kind = tags.pop("atlas.dstype", "rate")
        name = tags.pop("name")
        point_type = next(one for one in _TYPES if one == kind)
        published.points.append(Point(name, tags, metric.timestamp, metric.value, point_type))
    return published


def failure_message(published: Published) -> Mapping[str, object]:
    """Atlas's FailureMessage: error where nothing was taken, partial otherwise."""
    return {
        "type": "partial" if published.points else "error",
        "errorCount": len(published.failures),
        "message": published.failures[:SUMMARY_MAX],
    }


def _plain(text: str) -> str:
    return _STRANGE.sub("_", text)


def _age_fault(timestamp_ms: int, now_ms: int, age_ms_max: int | None) -> str:
    if not 0 <= timestamp_ms <= 2**43:
        return f"timestamp is no time in epoch milliseconds: {timestamp_ms}"
    if age_ms_max is None:
        return ""
    age_ms = now_ms - timestamp_ms
    if age_ms > age_ms_max:
        return f"data is too old: now = {now_ms}, timestamp = {timestamp_ms}, {age_ms} > {age_ms_max}"
    if age_ms < -age_ms_max:
        return f"data is from future: now = {now_ms}, timestamp = {timestamp_ms}"
    return ""


def _value_fault(value: float) -> str:
    return "" if math.isfinite(value) else f"value is not a finite number: {value}"


def _tags_fault(tags: Mapping[str, str]) -> str:
    name = tags.get("name", "")
    if not name:
        return "missing key 'name'"
    if len(name) not in NAME_LENGTH:
        return f"value for key 'name' has length {len(name)}, not 2 to 255"
    if name.startswith(OWN_PREFIX):
        return f"name '{name[:60]}' has the prefix '{OWN_PREFIX}', which is the catalogue's own"
    for key, value in tags.items():
        if len(key) not in KEY_LENGTH:
            return f"key '{key[:60]}' has length {len(key)}, not 2 to 60"
        if key != "name" and len(value) not in VALUE_LENGTH:
            return f"value for key '{key}' has length {len(value)}, not 1 to 120"
        if key.startswith("atlas.") and key not in _ATLAS_KEYS:
            return f"invalid key for reserved prefix 'atlas.': {key}"
    if tags.get("atlas.dstype", "rate") not in _TYPES:
        return f"atlas.dstype '{tags['atlas.dstype']}' is not one of {', '.join(_TYPES)}"
    user_tags = sum(not key.startswith("atlas.") for key in tags)
    return f"too many user tags: {user_tags} > {USER_TAGS_MAX}" if user_tags > USER_TAGS_MAX else ""
