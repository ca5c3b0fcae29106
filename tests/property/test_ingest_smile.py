"""Smile: what Jackson writes is read as it was, and anything else is refused without harm."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats import smile
from tocsin.app.dev import install

SPECTATOR = Path(__file__).resolve().parents[1] / "spectator"
REQUEST = gzip.decompress((SPECTATOR / "request.smile.gz").read_bytes())
"""A request of Spectator 1.9.0, as it was sent."""
MISSING = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
INTEGERS = [sign * (2**bits + near) for bits in (0, 4, 5, 6, 31, 62) for near in (-1, 0) for sign in (1, -1)]
NUMBERS = [*INTEGERS, 2**63 - 1, -(2**63), 0.0, -0.0, 0.1, -1e300, 5e-324, 1.5]
ALPHABETS = ("abc-._", "aé", "日本", "a😀")


def text(rng: random.Random) -> str:
    """Texts of every length that a token has a kind of its own for, in one to four bytes a character."""
    return "".join(
        rng.choices(rng.choice(ALPHABETS), k=rng.choice([0, 1, 2, 16, 21, 31, 32, 33, 34, 63, 64, 65, 66, 300]))
    )


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any value of JSON; names and texts come again often, and there are more of them than a table holds."""
    kind = rng.randrange(8 if depth < smile.DEPTH_MAX - 1 else 5)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.choice([True, False, None])
    if kind < 5:
        return text(rng) if rng.random() < 0.5 else f"text-{rng.randrange(1_500)}"
    if kind < 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(6))]
    return {text(rng) if rng.random() < 0.2 else f"name-{rng.randrange(1_500)}": value(rng, depth + 1)
            for _ in range(rng.randrange(6))}  # fmt: skip


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not on PATH; `make parts` installs them")
@pytest.mark.parametrize("features", [("true", "false", "false"), ("true", "true", "true"), ("false", "false", "true")])
def test_what_jackson_writes_is_read_as_it_was(features: tuple[str, str, str]) -> None:
    """Shared names and texts on and off, tables that overflow, lengths and numbers at every edge."""
    rng = random.Random(7)
    documents = [[value(rng) for _ in range(4_000)], *(value(rng) for _ in range(300))]
    command = [install.java_command(), "-cp", f"{install.spectator_jars()}/*", str(SPECTATOR / "EncodeSmile.java")]
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    done = subprocess.run([*command, *features], input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    encoded = [base64.b64decode(line) for line in done.stdout.splitlines()]
    for document, written in zip(documents, encoded, strict=True):
        # As text, for 0.0 and -0.0, or 1 and 1.0, are equal.
        assert json.dumps(smile.decode(written)) == json.dumps(document)


def test_a_request_of_spectator_is_read() -> None:
    """All of its measurements."""
    request = smile.decode(REQUEST)
    assert request["tags"] == {"nf.app": "shop"}
    assert len(request["metrics"]) == 97
    assert {
        "tags": {"name": "shop.orders", "atlas.dstype": "rate", "country": "fr", "statistic": "count"},
        "timestamp": 1_795_541_820_000,
        "value": 1.5,
    } in request["metrics"]


@given(st.integers(0, len(REQUEST) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_document_is_refused_or_read(at: int, byte: int, cut: bool) -> None:
    """Never another error than `SmileError`."""
    damaged = REQUEST[:at] if cut else REQUEST[:at] + bytes([byte]) + REQUEST[at + 1 :]
    try:
        smile.decode(damaged)
    except smile.SmileError:
        return
    assert not cut


@given(st.binary(max_size=60), st.integers(0, 7))
def test_any_bytes_are_refused_or_read(rest: bytes, flags: int) -> None:
    """Never another error than `SmileError`."""
    with contextlib.suppress(smile.SmileError):
        smile.decode(b":)\n" + bytes([flags]) + rest)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "header"),
        (b"{}", "header"),
        (b":)\n\x11\x21", "version 1"),
        (b":)\n\x01" + b"\xf8" * 40, "levels"),
        (b":)\n\x01" + b"\xf8" + b"\xc0" * (smile.TOKENS_MAX + 1), "values"),
        (b":)\n\x01\xfa\x81", "cut off"),
        (b":)\n\x01\xfa\x40\x21\xfb", "was not given"),
        (b":)\n\x03\x01", "was not given"),
        (b":)\n\x01\x26\x81\x80", "0x26"),
        (b":)\n\x01\x24\x7f\x7f\x7f\x7f\xbf", "too long"),
        (b":)\n\x01\x29" + b"\xff" * 10, "8 bits"),
        (b":)\n\x01\x29" + b"\x7f" * 10, "64 bits"),
        (b":)\n\x01\x40\x80", "no ascii"),
        (b":)\n\x01\x80\xff\xff", "no utf-8"),
        (b":)\n\x01\x21\x21", "follows"),
        (b":)\n\x01\xe0abc", "cut off"),
    ],
)
def test_what_is_no_document_is_refused_with_a_reason(document: bytes, reason: str) -> None:
    """Lengths and references are not trusted, depth and number of values are bounded."""
    with pytest.raises(smile.SmileError, match=reason):
        smile.decode(document)
