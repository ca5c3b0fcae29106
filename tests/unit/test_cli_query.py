"""`tocsin query`: a row a line, JSON, a PNG; what the server refuses and a server that is away are one line each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from query.api import router
from query.deps import QueryDeps
from tests import cli_support
from tocsin.cli.query import BARS, sparkline
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE

END = 1_795_176_000_000
RANGE = ("--start", "e-5m", "--end", str(END))
BY_DEVICE = "name,a,:eq,(,device,),:by"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The query stage's own routes over two devices; one lacks its last two minutes."""
    source = MemorySource()
    for back in range(10):
        source.put({"name": "a", "device": "tv"}, END - back * MINUTE, 10.0 - back)
        if back > 1:
            source.put({"name": "a", "device": "web"}, END - back * MINUTE, 4.0)
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    with cli_support.serving(app) as url:
        yield url


def test_a_row_a_line_with_a_sparkline(server: str, tmp_path: Path) -> None:
    """Each line has its legend, bars over time and its last, mean, least and greatest value."""
    done = cli_support.run("query", BY_DEVICE, "--server", server, *RANGE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row.split()[0]: row for row in done.stdout.splitlines()[1:]}
    assert BARS[0] in rows["tv"]
    assert BARS[-1] in rows["tv"]
    assert rows["tv"].split()[-4:] == ["10", "8", "6", "10"]
    assert rows["web"].split()[-4:] == ["4", "4", "4", "4"]


def test_a_narrow_terminal_takes_width_from_the_bars(server: str, tmp_path: Path) -> None:
    """Every row stays on one line with its whole label and statistics; the range stands above."""
    narrow = {"COLUMNS": "44"}
    done = cli_support.run("query", BY_DEVICE, "--server", server, *RANGE, cwd=tmp_path, extra=narrow)
    above, head, *rows = done.stdout.splitlines()
    assert above == "2026-11-20 11:55Z to 2026-11-20 12:00Z, step 1m"
    assert head.split() == ["line", "last", "avg", "min", "max"]
    assert [row.split()[0] for row in rows] == ["tv", "web"]
    assert "…" not in done.stdout
    assert max(map(len, rows)) <= 44


def test_a_line_without_values_has_dashes(server: str, tmp_path: Path) -> None:
    """Nothing is shown as a number where there is none."""
    done = cli_support.run("query", "name,nothing,:eq,:sum", "--server", server, *RANGE, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].split() == ["nothing", "–", "–", "–", "–"]


def test_json_has_every_value(server: str, tmp_path: Path) -> None:
    """Values come with tags and range; what is missing is null."""
    done = cli_support.run("query", BY_DEVICE, "--server", server, *RANGE, "--step", "1m", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["step_ms"] == MINUTE
    lines = {line["tags"]["device"]: line["values"] for line in answer["lines"]}
    assert lines == {"tv": [6, 7, 8, 9, 10], "web": [4, 4, 4, None, None]}


def test_png_is_written(server: str, tmp_path: Path) -> None:
    """--png writes a picture and prints nothing on stdout."""
    done = cli_support.run("query", BY_DEVICE, "--server", server, *RANGE, "--png", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_bad_expression_is_the_callers_fault(server: str, tmp_path: Path) -> None:
    """The server's words come as one line, with status 2."""
    done = cli_support.run("query", "name,a,:eq,:summ", "--server", server, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("tocsin: asking ")
    assert ":summ" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    """Nobody answers: status 1, and what to look at."""
    done = cli_support.run("query", ":true", "--server", cli_support.NOBODY, cwd=tmp_path)
    assert done.returncode == 1
    assert "is `tocsin up` running?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_role_needs_a_store_server(tmp_path: Path) -> None:
    """Without an expression it is the role, which the embedded store cannot serve."""
    done = cli_support.run("query", cwd=tmp_path)
    assert done.returncode == 2
    assert "running query alone" in done.stderr


def test_help_teaches(tmp_path: Path) -> None:
    """--help shows an example that can be copied."""
    assert "tocsin query ':true,:rebuffer-ratio,(,cdn,),:by'" in cli_support.run("query", "--help", cwd=tmp_path).stdout


def test_a_sparkline_scales_and_keeps_gaps() -> None:
    """Least is the lowest bar, greatest the highest, a gap is a blank; more values than width are averaged."""
    assert sparkline([0.0, math.nan, 7.0]) == f"{BARS[0]} {BARS[-1]}"
    assert sparkline([1.0, 3.0, 5.0, 7.0], width=2) == BARS[0] + BARS[-1]
    assert sparkline([2.0, 2.0]) == BARS[0] * 2
    assert sparkline([]) == ""
