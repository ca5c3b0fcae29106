"""`tocsin probe URL|FILE`: one look at a stream or file, with the frames that show it; without one, the probe role."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from tocsin.cli.options import AsJson, ConfigFile
from tocsin.cli.roles import Host, Port, role_config, serve_role
from tocsin.model.errors import InputError

if TYPE_CHECKING:
    from server_probe.look import Evidence, TimeRange

_RANGE = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")

Target = Annotated[str | None, typer.Argument(metavar="URL|FILE", help="HLS manifest, media URL or media file.")]
Detectors = Annotated[str, typer.Option(help="Names with commas: black, clipping, corruption, freeze, gaps, silence.")]
Seconds = Annotated[list[str] | None, typer.Option("--seconds", help="Only this time of a stream, as 30-45.")]
Private = Annotated[bool, typer.Option("--allow-private", help="The URL's host may have a private address.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the frames, one PNG a defect.")]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def probe(
        target: Target = None,
        detectors: Detectors = "",
        seconds: Seconds = None,
        allow_private: Private = False,
        out: Out = None,
        as_json: AsJson = False,
        file: ConfigFile = None,
        host: Host = None,
        port: Port = None,
    ) -> None:
        """Decode a stream or file in the sandbox and say what is wrong with it; WITHOUT one, run the probe role.

        Exit status 0 whatever the verdict is; 2 where the file or URL cannot be used.

        \b
        A stream, the frames into a folder:
          tocsin probe https://cdn.example.com/a/main.m3u8 --out frames
        Twelve seconds of it:
          tocsin probe https://cdn.example.com/a/main.m3u8 --seconds 30-42
        A file, for frozen and black pictures:
          tocsin probe clip.ts --detectors freeze,black
        The role, which needs store = http://…:
          tocsin probe --port 8083
        """
        if target is None:
            serve_role(role_config(file, host, port), "probe")
            return
        ranges = tuple(_range(text) for text in seconds or ())
        if ranges and "://" not in target:
            raise InputError(f"probing {target}: --seconds {seconds} is for manifests; a file is looked at whole")
        names = tuple(name.strip() for name in detectors.split(",") if name.strip())
        with Console(stderr=True).status(f"looking at {target}"):
            evidence = _look(target, names, ranges, allow_private=allow_private)
        frames = _write(evidence, out)
        if as_json:
            verdict = msgspec.to_builtins(evidence.verdict)
            typer.echo(msgspec.json.encode({**verdict, "frames": [str(path) for path in frames]}))
            return
        _print(evidence, frames)


def _look(target: str, names: tuple[str, ...], ranges: tuple[TimeRange, ...], *, allow_private: bool) -> Evidence:
    from server_probe.detectors import DEFAULT, chosen
    from server_probe.probe import probe_url

    return probe_url(target, chosen(names or DEFAULT), ranges=ranges, allow_private=allow_private)


def _range(text: str) -> TimeRange:
    from server_probe.look import TimeRange

    found = _RANGE.fullmatch(text)
    if found is None or float(found[1]) >= float(found[2]):
        raise InputError(f"reading --seconds {text!r}: give two times of the stream in seconds, as 30-45")
    return TimeRange(float(found[1]), float(found[2]))


def _write(evidence: Evidence, folder: Path | None) -> list[Path]:
    """One file a frame, named after the look and the frame's number."""
    if folder is None:
        return []
    paths = [folder / f"{evidence.verdict.id}-{number}.png" for number in range(len(evidence.frames))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, frame in zip(paths, evidence.frames, strict=True):
            path.write_bytes(frame)
    except OSError as error:
        raise InputError(f"writing frames to {folder}: {error.strerror}; choose another folder for --out") from error
    return paths


def _print(evidence: Evidence, frames: list[Path]) -> None:
    verdict = evidence.verdict
    typer.echo(f"{verdict.verdict}: {verdict.summary}")
    if verdict.defects:
        table = Table("verdict", "detector", "seconds", "what", "rendition", "comes from", "frame", box=None)
        for defect in verdict.defects:
            frame = str(frames[defect.frame]) if frames and defect.frame >= 0 else ""
            when = f"{defect.start_s:.2f}-{defect.end_s:.2f}"
            row = (defect.verdict, defect.detector, when, defect.what, defect.rendition, defect.source, frame)
            table.add_row(*row)
        Console(markup=False, highlight=False).print(table)
    for why in verdict.left_out:
        typer.echo(f"left out: {why}")
    typer.echo(f"{verdict.step}, {verdict.cpu_s:.2f} CPU s, {verdict.bytes} bytes, sandbox {verdict.sandbox}")
