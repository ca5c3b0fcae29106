"""Heartbeats as the envelopes that players send: JSON of schema `tocsin.heartbeat/1`, one POST each.

An envelope holds heartbeats of one country and network, because the server learns those from the request, not from the
player: they travel as headers that a trusted relay sets. With `events_per_request` 1 each heartbeat is its own POST, as
from real players; more is an SDK relay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from player_sim.audience import World
from player_sim.layout import FIELDS, SUMS, Records, matrix_of
from tocsin.model.heartbeat import OUTCOMES, REASONS, SCHEMA, STATES

COUNTRY_HEADER = "X-Tocsin-Country"
ASN_HEADER = "X-Tocsin-Asn"
SDK_NAME = "tocsin-player-sim"
SDK_VERSION = "1"
_TAGS_MAX = 100_000


class _Bitrate(msgspec.Struct, frozen=True, gc=False):
    video: int
    audio: int


class _Error(msgspec.Struct, frozen=True, gc=False):
    code: str
    fatal: bool
    technical: bool
    message: str


_WireEvent = msgspec.defstruct(
    "_WireEvent",
    [
        ("seq", int), ("ts_ms", int), ("interval_ms", int), ("playhead_ms", int), ("session_id", str), ("reason", str),
        ("state", str), ("startup_ms", int, -1), *((name, int, 0) for name in SUMS),
        ("bitrate_kbps", Any, None), ("outcome", str | None, None), ("error", Any, None), ("tags", msgspec.Raw),
    ],
    omit_defaults=True, gc=False, kw_only=True,
)  # fmt: skip
_encode = msgspec.json.Encoder().encode
_HEAD = f'{{"schema":"{SCHEMA}","sent_ts_ms":'.encode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """One POST to be: its body but for the time of sending, the geography of its senders, and which rows it holds.

    `ordinal` numbers the envelopes of a writer; two of the same number are copies.
    """

    rest: bytes
    country: str
    asn: str
    events: int
    rows: Records
    ordinal: int

    def body(self, sent_ms: int) -> bytes:
        """The JSON body, stamped with the time of this attempt (epoch ms)."""
        return b"%b%d%b" % (_HEAD, sent_ms, self.rest)


def session_id(sid: int) -> str:
    """The session's id on the wire."""
    return f"{sid:016x}"


class EnvelopeWriter:
    """Makes envelopes of heartbeats; remembers the tags of each kind of session as JSON."""

    def __init__(self, world: World, events_per_request: int = 20) -> None:
        self._world = world
        self._per_request = events_per_request
        self._written = 0
        self._tags: dict[tuple[int, ...], msgspec.Raw] = {}
        self._bitrates: dict[tuple[int, int], _Bitrate] = {}
        self._head = b',"sdk":' + _encode({"name": SDK_NAME, "version": SDK_VERSION}) + b',"events":['

    def envelopes(self, rows: Records) -> Iterator[Envelope]:
        """Envelopes of the heartbeats (`layout.HEARTBEAT`, copied), in the order of their time within a network."""
        order = np.lexsort((rows["ts_ms"], rows["isp"]))
        rows = rows[order]
        events = self._events(rows)
        isps = rows["isp"]
        cuts = np.flatnonzero(np.diff(isps)) + 1
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
            for at in range(begin, end, self._per_request):
                to = min(at + self._per_request, end)
                yield self._envelope(events[at:to], rows[at:to])

    def _envelope(self, events: list[bytes], rows: Records) -> Envelope:
        isp = int(rows["isp"][0])
        country = self._world.regions[int(self._world.isp_region[isp])]
        rest = self._head + b",".join(events) + b"]}"
        self._written += 1
        return Envelope(rest, country, self._world.isps[isp], len(events), rows, self._written)

    def _events(self, rows: Records) -> list[bytes]:
        columns = [column.tolist() for column in matrix_of(rows).T]
        get = dict(zip(FIELDS, columns, strict=True))
        sids = rows["sid"].tolist()
        sums = [get[name] for name in SUMS]
        tag_columns = [get[name] for name in ("stream", "cdn", "device", "app", "player", "network")]
        result = []
        for i in range(len(rows)):
            values = {name: column[i] for name, column in zip(SUMS, sums, strict=True) if column[i]}
            code = get["error_code"][i]
            outcome = get["outcome"][i]
            event = _WireEvent(
                seq=get["seq"][i], ts_ms=get["ts_ms"][i], interval_ms=get["interval_ms"][i],
                playhead_ms=get["playhead_ms"][i], session_id=f"{sids[i]:016x}", reason=REASONS[get["reason"][i]],
                state=STATES[get["state"][i]], startup_ms=get["startup_ms"][i],
                bitrate_kbps=self._bitrate(get["bitrate_video_kbps"][i], get["bitrate_audio_kbps"][i]),
                outcome=OUTCOMES[outcome] if outcome else None,
                error=self._error(code, get["error_fatal"][i], get["error_technical"][i]) if code else None,
                tags=self._tags_of(*(column[i] for column in tag_columns)),
                **values,
            )  # fmt: skip
            result.append(_encode(event))
        return result

    def _bitrate(self, video: int, audio: int) -> _Bitrate | None:
        if video == 0:
            return None
        return self._bitrates.setdefault((video, audio), _Bitrate(video, audio))

    def _error(self, code: int, fatal: int, technical: int) -> _Error:
        name = self._world.errors[code - 1]
        return _Error(name, bool(fatal), bool(technical), f"simulated {name}")

    def _tags_of(self, *key: int) -> msgspec.Raw:
        tags = self._tags.get(key)
        if tags is None:
            if len(self._tags) >= _TAGS_MAX:
                self._tags.clear()
            tags = self._tags[key] = msgspec.Raw(_encode(self._world.wire_tags(*key)))
        return tags
