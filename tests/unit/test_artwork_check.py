"""Artwork: the inventory is read, images are looked for over real HTTP, and only changes are published."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from artwork import checker, series
from artwork.inventory import ExpectedImage, read_csv
from tocsin.model.errors import InputError


def _png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(out, "PNG")
    return out.getvalue()


FILES = {"/img/a.png": _png(320, 180), "/img/small.png": _png(32, 18), "/img/text.png": b"not a picture"}


class _Images(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        body = FILES.get(self.path)
        status = 500 if self.path == "/img/broken.png" else 200 if body else 404
        self.send_response(status)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET" and body:
            self.wfile.write(body)

    do_GET = do_HEAD = _answer  # noqa: N815  names set by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Keep the test's output clean."""


@pytest.fixture
def base_url() -> Iterator[str]:
    """A real server with some of the images."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/img"
    server.shutdown()
    thread.join()
    server.server_close()


def _image(path: str, **sizes: float) -> ExpectedImage:
    return ExpectedImage("t1", "ja", path, path, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (_image("a.png"), "present"),
        (_image("none.png"), "missing"),
        (_image("broken.png"), "unknown"),
        (_image("a.png", min_width=300, ratio=16 / 9), "present"),
        (_image("a.png", ratio=1.0), "wrong"),
        (_image("small.png", min_width=300), "wrong"),
        (_image("text.png", min_width=1), "wrong"),
        (_image("none.png", min_width=1), "missing"),
    ],
)
def test_an_image_is_present_missing_or_wrong(base_url: str, image: ExpectedImage, state: str) -> None:
    """A server's 404 is missing, its 500 is unknown, and a picture that does not fit its size is wrong."""
    (finding,) = asyncio.run(checker.check([image], base_url))
    assert finding.state == state, finding.detail


def test_only_changes_are_published() -> None:
    """A first check writes what is expected and missing, a second one with the same findings writes nothing."""
    image = ExpectedImage("t1", "ja", "poster", "x.png", launch_ms=5_000)
    points = series.changes([checker.Finding(image, "missing")], {}, 1_000)
    assert {(p.name, p.value) for p in points} == {
        ("artwork.expected", 1.0), ("artwork.missing", 1.0), ("artwork.launch_s", 5.0),
    }  # fmt: skip
    known = {image.key: series.Known(missing=True, wrong=False, since_ms=1_000, launch_ms=5_000)}
    assert series.changes([checker.Finding(image, "missing")], known, 2_000) == []
    assert series.changes([checker.Finding(image, "unknown")], known, 2_000) == []
    (fixed,) = series.changes([checker.Finding(image, "present")], known, 2_000)
    assert (fixed.name, fixed.value, fixed.ts_ms) == ("artwork.missing", 0.0, 2_000)


def test_an_image_that_left_the_inventory_is_no_longer_missing() -> None:
    """What the inventory no longer lists is neither expected nor missing."""
    known = {("t1", "ja", "poster"): series.Known(missing=True, wrong=False, since_ms=1)}
    assert {(p.name, p.value) for p in series.changes([], known, 2)} == {
        ("artwork.expected", 0.0), ("artwork.missing", 0.0), ("artwork.wrong", 0.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title,lang,kind\nt,ja,poster\n", "no column path"),
        ("title,lang,kind,path\nt,ja,poster,x\nt,ja,poster,y\n", "line 3: t / ja / poster stands there twice"),
        ("title,lang,kind,path\nt,,poster,x\n", "lang is empty"),
        ("title,lang,kind,path,launch\nt,ja,poster,x,soon\n", "launch 'soon' is no ISO date"),
        ("title,lang,kind,path,ratio\nt,ja,poster,x,16:0\n", "ratio '16:0'"),
        ("title,lang,kind,path,min_width\nt,ja,poster,x,-3\n", "min_width '-3'"),
    ],
)
def test_a_bad_inventory_is_refused_with_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    """The error names where the inventory is wrong."""
    file = tmp_path / "inventory.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_csv(file)
