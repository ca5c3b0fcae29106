"""`tocsin sql`: a table, JSON and files; what the server refuses is one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pa_parquet
import pytest
from fastapi import FastAPI

from query.analysts import router
from tests import cli_support
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.cubes import DEFAULT_CUBES

QUERY = "SELECT number AS n, {name:String} AS name, NULL AS z FROM numbers(2) ORDER BY n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The analysts' routes over an empty embedded store."""
    store = ClickHouseStore(f"chdb://{tmp_path_factory.mktemp('sql') / 'data'}")
    app = FastAPI()
    app.include_router(router(store, DEFAULT_CUBES, {}, lambda: 0))
    with cli_support.serving(app) as url:
        yield url
    store.close()


def test_rows_as_a_table(server: str, tmp_path: Path) -> None:
    """A header and a row each; values are bound, what is null is blank."""
    done = cli_support.run("sql", QUERY, "--param", "name=it's [x]", "--server", server, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["n", "name", "z"]
    assert [row.split(maxsplit=1)[1].rstrip() for row in rows] == ["it's [x]"] * 2


def test_json_and_csv_go_to_standard_output(server: str, tmp_path: Path) -> None:
    """So that they can be piped."""
    shared = ("sql", QUERY, "--param", "name=a=b", "--server", server)
    assert json.loads(cli_support.run(*shared, "--json", cwd=tmp_path).stdout)["rows"][1] == [1, "a=b", None]
    assert cli_support.run(*shared, "--format", "csv", cwd=tmp_path).stdout.splitlines()[1] == '0,"a=b",'


def test_a_file_is_written_as_its_ending_says(server: str, tmp_path: Path) -> None:
    """Parquet by the name; nothing on standard output."""
    done = cli_support.run("sql", "SELECT 7 AS n", "--output", "n.parquet", "--server", server, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert pa_parquet.read_table(tmp_path / "n.parquet").to_pydict() == {"n": [7]}


def test_what_is_wrong_is_said_in_one_line(server: str, tmp_path: Path) -> None:
    """With status 2: what the server refuses, and what cannot be sent."""
    for arguments, said in (
        (("SELECT * FROM file('x')",), "cannot be read from"),
        (("SELECT 1", "--param", "name"), "write it as NAME=VALUE"),
        (("SELECT 1", "--output", "n.txt"), "is none of json, csv, arrow, parquet"),
    ):
        done = cli_support.run("sql", *arguments, "--server", server, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert said in done.stderr
