"""Results of analysts' SQL as JSON, CSV, Arrow and Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from tocsin.adapters.store.port import TypedResult
from tocsin.model.errors import InputError

ROWS_AT_ONCE = 5_000
"""Rows that are Python objects at a time: they take some ten times the memory of their text."""


@dataclass(frozen=True, slots=True)
class SqlFormat:
    """A media type, the function that writes it, and how many rows it may have."""

    content_type: str
    write: Callable[[TypedResult], bytes]
    rows_max: int = 1_000_000


def _json(result: TypedResult) -> bytes:
    """`columns` with the store's types, and `rows`; times are ISO 8601, what is no number is null."""
    names = result.table.column_names
    columns = [{"name": name, "type": kind} for name, kind in zip(names, result.types, strict=True)]
    pieces = [
        msgspec.json.encode(list(zip(*map(_values, names, batch.columns), strict=True)))[1:-1]
        for batch in result.table.to_batches(max_chunksize=ROWS_AT_ONCE)
    ]
    return msgspec.json.encode({"columns": columns})[:-1] + b',"rows":[' + b",".join(filter(None, pieces)) + b"]}"


def _values(name: str, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist(maps_as_pydicts="lossy"))
    except UnicodeDecodeError as error:
        raise InputError(f"writing column {name!r}: it holds bytes that are no UTF-8; select hex({name})") from error


def _csv(result: TypedResult) -> bytes:
    """A header and a line a row; lists and maps as JSON."""
    table = result.table
    for at, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or isinstance(field.type, pa.BaseExtensionType):
            texts = [msgspec.json.encode(value).decode() for value in _values(field.name, table.column(at))]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink)
    return sink.getvalue()


def _arrow(result: TypedResult) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, result.table.schema) as stream:
        stream.write_table(result.table)
    return sink.getvalue()


def _parquet(result: TypedResult) -> bytes:
    sink = io.BytesIO()
    pa_parquet.write_table(result.table, sink)
    return sink.getvalue()


FORMATS: dict[str, SqlFormat] = {
    "json": SqlFormat("application/json", _json, rows_max=100_000),
    "csv": SqlFormat("text/csv", _csv),
    "arrow": SqlFormat("application/vnd.apache.arrow.stream", _arrow),
    "parquet": SqlFormat("application/vnd.apache.parquet", _parquet),
}


def format_named(asked: str, accept: str) -> SqlFormat:
    """The format asked for by name, else the first known one of an Accept header, else JSON."""
    if asked:
        if asked not in FORMATS:
            raise InputError(f"writing the result: format {asked!r} is none of {', '.join(FORMATS)}")
        return FORMATS[asked]
    by_type = {known.content_type: known for known in FORMATS.values()}
    accepted = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((by_type[kind] for kind in accepted if kind in by_type), FORMATS["json"])
