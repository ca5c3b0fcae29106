"""Which streams there are: `stream.id` → one manifest by CDN, live or recorded. From configuration, CSV or the API."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from tocsin.model.errors import ConfigError

STREAMS_MAX = 100_000
_COLUMNS = ("stream", "cdn", "url", "mode")


class Stream(msgspec.Struct, frozen=True):
    """One stream: manifests by CDN, in the order of the registry; `mode` is "live" or "vod"."""

    id: str
    manifests: dict[str, str]
    mode: Literal["live", "vod"] = "vod"


class StreamRegistry:
    """All streams by id. Raises `ConfigError` beyond 100,000 streams."""

    def __init__(self, streams: Iterable[Stream] = ()) -> None:
        self._streams: dict[str, Stream] = {}
        for stream in streams:
            self.add(stream)

    def add(self, stream: Stream) -> None:
        """Add or replace a stream."""
        if not stream.id or not stream.manifests:
            raise ConfigError(f"registering stream {stream.id!r}: it needs an id and at least one manifest URL")
        if stream.id not in self._streams and len(self._streams) >= STREAMS_MAX:
            raise ConfigError(f"registering stream {stream.id!r}: {STREAMS_MAX} streams are registered already")
        self._streams[stream.id] = stream

    def get(self, stream_id: str) -> Stream | None:
        """One stream."""
        return self._streams.get(stream_id)

    def ids(self) -> list[str]:
        """All ids, in the order they were added."""
        return list(self._streams)

    @classmethod
    def from_config(cls, streams: Mapping[str, Mapping[str, object]]) -> StreamRegistry:
        """From `{id: {"manifests": {cdn: url}, "mode": "vod"}}`; raises `ConfigError` naming the stream."""
        registry = cls()
        for stream_id, body in streams.items():
            try:
                registry.add(msgspec.convert({"id": stream_id, **body}, Stream))
            except msgspec.ValidationError as error:
                raise ConfigError(f"registering stream {stream_id!r}: {error}") from error
        return registry

    @classmethod
    def from_csv(cls, text: str) -> StreamRegistry:
        """From CSV with the columns stream, cdn, url, mode; one line a manifest. Raises `ConfigError` with the line."""
        reader = csv.DictReader(io.StringIO(text))
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"reading the stream list: column {missing[0]!r} is missing; give {', '.join(_COLUMNS)}")
        registry = cls()
        for line, row in enumerate(reader, start=2):
            stream_id, cdn, url, mode = (str(row[name] or "").strip() for name in _COLUMNS)
            if mode not in ("live", "vod"):
                raise ConfigError(f"reading the stream list, line {line}: mode {mode!r}; give live or vod")
            known = registry.get(stream_id)
            manifests = {**(known.manifests if known else {}), cdn: url}
            registry.add(Stream(stream_id, manifests, "live" if mode == "live" else "vod"))
        return registry
