"""`tocsin probe`: a file or URL is decoded and judged, frames are written; what cannot be read is one clear line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from player_sim.clips import Freeze, StreamSpec, make_stream, serve_folder
from tests import cli_support


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of 18 s whose picture stands still for 12 of them."""
    folder = tmp_path_factory.mktemp("cli-probe")
    make_stream(folder, StreamSpec("freeze", seed=6, seconds=18, defects=(Freeze(4.0, 12.0),)))
    return folder


@pytest.fixture(scope="module")
def origin(media: Path) -> Iterator[str]:
    """Where it is served."""
    with serve_folder(media) as url:
        yield url


@pytest.fixture(scope="module")
def looked(origin: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The verdict on the manifest, as JSON; frames are in its own folder."""
    folder = tmp_path_factory.mktemp("cli-probe-out")
    url = f"{origin}/freeze/master.m3u8"
    done = cli_support.run("probe", url, "--allow-private", "--out", "frames", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["frames"] = [folder / frame for frame in answer["frames"]]
    return answer


def test_a_frozen_stream_is_confirmed_with_its_frames(looked: dict[str, Any]) -> None:
    """The defect has its detector and time, and names a PNG that exists."""
    assert looked["verdict"] == "confirmed"
    frozen = looked["defects"][0]
    assert frozen["detector"] == "freeze"
    assert frozen["start_s"] == pytest.approx(4.0, abs=0.2)
    assert frozen["end_s"] == pytest.approx(16.0, abs=0.2)
    assert looked["frames"][frozen["frame"]].read_bytes().startswith(b"\x89PNG")


def test_a_private_address_needs_the_flag(origin: str, tmp_path: Path) -> None:
    """Without --allow-private nothing is read from the loopback interface, and the output says so."""
    done = cli_support.run("probe", f"{origin}/freeze/master.m3u8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cannot tell")
    assert "127.0.0.1" in done.stdout


def test_a_file_is_printed_as_a_table(media: Path, tmp_path: Path) -> None:
    """A media file on this machine is looked at whole; the row has the detector and the time."""
    segments = sorted((media / "freeze" / "270p").glob("*.ts"))
    clip = tmp_path / "clip.ts"
    clip.write_bytes(b"".join(segment.read_bytes() for segment in segments))
    done = cli_support.run("probe", str(clip), "--detectors", "freeze,black", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("confirmed")
    assert any("freeze" in line and "4.0" in line for line in done.stdout.splitlines()[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-file.ts",), "probing no-such-file.ts: No such file"),
        (("pyproject.toml", "--detectors", "freez"), "'freez' is none of"),
        (("clip.ts", "--seconds", "9-4"), "reading --seconds '9-4'"),
        (("clip.ts", "--seconds", "4-9"), "a file is looked at whole"),
        ((), "running probe alone"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    """Status 2, and the line names the value and the remedy."""
    done = cli_support.run("probe", *arguments, cwd=cli_support.ROOT)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
