"""Bodies of `POST /api/v1/publish`: Atlas's points, as JSON or Smile, into columns and the reasons why others are not.

    {"tags": {common}, "metrics": [{"tags": {"name": …, "atlas.dstype": "gauge"}, "timestamp": ms, "value": x}, …]}

The rules and their messages are those of Atlas's publish API (PublishApi.scala; reference.conf, atlas.webapi.publish):
a name, lengths of keys and values, at most 20 tags, reserved prefixes, an age of at most one step; a point without
`atlas.dstype` is a rate. Two differ (docs/adr/0007): a value may be any text without control characters, where Atlas
takes `-._A-Za-z0-9^~` only, and a type that is not known is refused, where Atlas takes it for a rate. The prefix `qoe.`
is refused: it is the catalogue's own.

Who publishes sends the same tags with every step. So tags are not parsed but looked up by their bytes
(`tocsin.model.points.Known`), and what is checked for each point is checked on whole columns: 0.5 µs a point instead
of 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec
import numpy as np
import numpy.typing as npt

from ingest.formats import smile
from ingest.formats.heartbeat import BodyError, fault_of
from tocsin.model.points import Known, PointBatch, PointType, Series

METRICS_MAX = 50_000
USER_TAGS_MAX = 20
KEY_LENGTH = range(2, 61)
NAME_LENGTH = range(2, 256)
VALUE_LENGTH = range(1, 121)
TIME_MAX = 2**43
"""Latest time of a point, epoch ms: the year 2248."""
OWN_PREFIX = "qoe."
SUMMARY_MAX = 5
"""Failures spelt out in an answer, as in Atlas."""
DSTYPE = "atlas.dstype"
_RESERVED: dict[str, frozenset[str]] = {
    "atlas.": frozenset({"aggr", "dstype", "offset", "legacy"}),
    "nf.": frozenset({
        "account", "ami", "app", "asg", "cluster", "container", "country", "country.rollup", "job", "node", "process",
        "region", "shard1", "shard2", "stack", "subnet", "task", "vmtype", "vpc", "zone",
    }),
}  # fmt: skip
"""Keys that may follow a reserved prefix; they are no user tags."""
_KEY = re.compile(r"[-._A-Za-z0-9^~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TYPES: tuple[PointType, ...] = get_args(PointType)


class Metric(msgspec.Struct, gc=False):
    """One point as Atlas writes it."""

    tags: dict[str, str]
    timestamp: int
    value: float


class Payload(msgspec.Struct, gc=False):
    """One request: points, and tags that all of them share."""

    metrics: list[Metric]
    tags: dict[str, str] = {}


class _RawMetric(msgspec.Struct, gc=False):
    tags: msgspec.Raw
    timestamp: int
    value: float


class _RawPayload(msgspec.Struct, gc=False):
    metrics: list[_RawMetric]
    tags: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True)
class Published:
    """A body taken apart: `total` points seen, the good ones, how many were not, and a line for some of those."""

    total: int
    points: PointBatch
    failed: int = 0
    failures: Sequence[str] = ()


_Column = npt.NDArray[np.int64]
_decode = msgspec.json.Decoder(_RawPayload).decode
_decode_tags = msgspec.json.Decoder(list[dict[str, str]]).decode
_encode = msgspec.json.Encoder().encode


def parse(body: bytes, now_ms: int, age_ms_max: int | None, *, is_smile: bool = False) -> Published:
    """Take a body apart; `age_ms_max` None takes points of any age. Raises `BodyError` where it is no payload."""
    try:
        payload: _RawPayload | Payload = msgspec.convert(smile.decode(body), Payload) if is_smile else _decode(body)
        keys = _keys(payload)
        distinct = dict.fromkeys(keys)
        checked = [_known[key] for key in distinct]
        times = np.array([metric.timestamp for metric in payload.metrics], np.int64)
    except smile.SmileError as error:
        raise BodyError("", f"the body is no Smile document: {error}") from error
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BodyError(*fault_of(error)) from error
    except OverflowError as error:
        raise BodyError("metrics.timestamp", "a time is beyond 64 bits") from error
    values = np.array([metric.value for metric in payload.metrics], np.float64)
    return _checked(keys, checked, _codes(keys, list(distinct)), times, values, now_ms, age_ms_max)


def failure_message(published: Published) -> Mapping[str, object]:
    """Atlas's FailureMessage: error where nothing was taken, partial otherwise."""
    return {
        "type": "partial" if len(published.points) else "error",
        "errorCount": published.failed,
        "message": published.failures,
    }


def _keys(payload: _RawPayload | Payload) -> list[bytes]:
    """For each point the bytes that its tags are known by: JSON objects of the common tags and its own, with a comma
    in between."""
    if len(payload.metrics) > METRICS_MAX:
        raise BodyError("metrics", f"more than {METRICS_MAX} points in one request; send them in several", "events")
    if isinstance(payload, Payload):
        common = _encode(payload.tags)
        own = [_encode(metric.tags) for metric in payload.metrics]
    else:
        common = bytes(payload.tags)
        own = [bytes(metric.tags) for metric in payload.metrics]
    if common == b"{}":
        return own
    prefix = common + b","
    return [prefix + tags for tags in own]


def _tags(key: bytes) -> dict[str, str]:
    merged: dict[str, str] = {}
    for tags in _decode_tags(b"[" + key + b"]"):
        merged |= tags
    return merged


def _series(key: bytes) -> Series | str:
    """The series of some tags, or what is wrong with them."""
    tags = _tags(key)
    fault = _tags_fault(tags)
    if fault:
        return fault
    kind = next(one for one in _TYPES if one == tags.get(DSTYPE, "rate"))
    # The type says it all, but for an explicit rate, which is another series than one that says nothing.
    kept = {key: value for key, value in tags.items() if key != "name" and (key != DSTYPE or kind == "rate")}
    return Series(tags["name"], tuple(sorted(kept.items())), kind)


_known: Known[Series | str] = Known(_series)


def _codes(keys: list[bytes], distinct: list[bytes]) -> _Column:
    if len(distinct) == len(keys):
        return np.arange(len(keys))
    position = {key: at for at, key in enumerate(distinct)}
    return np.array([position[key] for key in keys], np.int64)


def _checked(
    keys: list[bytes], checked: list[Series | str], codes: _Column, times: _Column, values: npt.NDArray[np.float64],
    now_ms: int, age_ms_max: int | None,
) -> Published:  # fmt: skip
    low, high = (0, TIME_MAX) if age_ms_max is None else (max(now_ms - age_ms_max, 0), now_ms + age_ms_max)
    known = np.array([isinstance(one, Series) for one in checked], np.bool_)
    good = (times >= low) & (times <= high) & np.isfinite(values) & known[codes]
    series = [one for one in checked if isinstance(one, Series)]
    if good.all():
        return Published(len(keys), PointBatch(series, codes, times, values))
    failures = []
    for at in np.flatnonzero(~good)[:SUMMARY_MAX].tolist():
        of_tags = checked[int(codes[at])]
        fault = (
            _time_fault(int(times[at]), now_ms, age_ms_max)
            or (of_tags if isinstance(of_tags, str) else "")
            or f"value is not a finite number: {values[at]}"
        )
        failures.append(f"{fault} (tags={json.dumps(_tags(keys[at]))})")
    position = np.cumsum(known) - 1
    taken = PointBatch(series, position[codes[good]], times[good], values[good])
    return Published(len(keys), taken, int((~good).sum()), failures)


def _time_fault(timestamp_ms: int, now_ms: int, age_ms_max: int | None) -> str:
    if not 0 <= timestamp_ms <= TIME_MAX:
        return f"timestamp is no time in epoch milliseconds: {timestamp_ms}"
    if age_ms_max is None:
        return ""
    age_ms = now_ms - timestamp_ms
    if age_ms > age_ms_max:
        return f"data is too old: now = {now_ms}, timestamp = {timestamp_ms}, {age_ms} > {age_ms_max}"
    if age_ms < -age_ms_max:
        return f"data is from future: now = {now_ms}, timestamp = {timestamp_ms}"
    return ""


def _tags_fault(tags: Mapping[str, str]) -> str:
    name = tags.get("name", "")
    if not name:
        return "missing key 'name'"
    if len(name) not in NAME_LENGTH:
        return f"value for key 'name' has length {len(name)}, not 2 to 255"
    if name.startswith(OWN_PREFIX):
        return f"name '{name[:60]}' has the prefix '{OWN_PREFIX}', which is the catalogue's own"
    fault = next(filter(None, (_tag_fault(key, value) for key, value in tags.items())), "")
    if fault:
        return fault
    if tags.get(DSTYPE, "rate") not in _TYPES:
        return f"{DSTYPE} '{tags[DSTYPE]}' is not one of {', '.join(_TYPES)}"
    user_tags = sum(not key.startswith(tuple(_RESERVED)) for key in tags)
    return f"too many user tags: {user_tags} > {USER_TAGS_MAX}" if user_tags > USER_TAGS_MAX else ""


def _tag_fault(key: str, value: str) -> str:
    if len(key) not in KEY_LENGTH:
        return f"key '{key[:60]}' has length {len(key)}, not 2 to 60"
    if not _KEY.fullmatch(key):
        return f"invalid characters in key: [{key}] ([-._A-Za-z0-9^~] are allowed)"
    if key != "name" and len(value) not in VALUE_LENGTH:
        return f"value for key '{key}' has length {len(value)}, not 1 to 120"
    if _CONTROL.search(value):
        return f"control characters in value: {key} = {value!r}"
    for prefix, allowed in _RESERVED.items():
        if key.startswith(prefix) and key.removeprefix(prefix) not in allowed:
            return f"invalid key for reserved prefix '{prefix}': {key}"
    return ""
