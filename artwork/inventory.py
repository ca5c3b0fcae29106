"""The inventory: which image must exist, for which title, in which language, of which kind, and from when.

A CSV with a header. Columns: `title`, `lang`, `kind`, `path` (relative to the base URL, or an absolute http(s) URL),
and optionally `launch` (ISO date or time, UTC), `min_width`, `min_height` (pixels) and `ratio` (such as 16:9).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tocsin.model.errors import InputError

REQUIRED = ("title", "lang", "kind", "path")
OPTIONAL = ("launch", "min_width", "min_height", "ratio")
IMAGES_MAX = 2_000_000


@dataclass(frozen=True, slots=True)
class ExpectedImage:
    """One image that must exist. `launch_ms` 0 where unknown; sizes 0 and ratio 0 where any will do."""

    title: str
    lang: str
    kind: str
    path: str
    launch_ms: int = 0
    min_width: int = 0
    min_height: int = 0
    ratio: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the image: title, language, kind."""
        return (self.title, self.lang, self.kind)


def read_csv(path: Path) -> list[ExpectedImage]:
    """The inventory in a file; an error names the line and the column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            return list(_rows(lines, str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"reading the inventory {path}: {error}") from error


def _rows(lines: Iterable[str], where: str) -> Iterator[ExpectedImage]:
    reader = csv.DictReader(lines)
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or [])]
    if missing:
        raise InputError(
            f"reading the inventory {where}: no column {', '.join(missing)}; needed: {', '.join(REQUIRED)}"
        )
    seen: set[tuple[str, str, str]] = set()
    for row in reader:
        at = f"{where} line {reader.line_num}"
        image = _image(row, at)
        if image.key in seen:
            raise InputError(f"reading {at}: {' / '.join(image.key)} stands there twice; remove one")
        if len(seen) >= IMAGES_MAX:
            raise InputError(f"reading {at}: more than {IMAGES_MAX} images; split the inventory")
        seen.add(image.key)
        yield image


def _image(row: dict[str, str | None], at: str) -> ExpectedImage:
    values = {name: (row.get(name) or "").strip() for name in (*REQUIRED, *OPTIONAL)}
    empty = [name for name in REQUIRED if not values[name]]
    if empty:
        raise InputError(f"reading {at}: {', '.join(empty)} is empty; every image needs it")
    return ExpectedImage(
        values["title"], values["lang"], values["kind"], values["path"],
        _launch_ms(values["launch"], at),
        _pixels(values["min_width"], "min_width", at),
        _pixels(values["min_height"], "min_height", at),
        _ratio(values["ratio"], at),
    )  # fmt: skip


def _launch_ms(text: str, at: str) -> int:
    if not text:
        return 0
    try:
        launch = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"reading {at}: launch {text!r} is no ISO date; write 2027-01-31") from error
    return int((launch if launch.tzinfo else launch.replace(tzinfo=UTC)).timestamp() * 1000)


def _pixels(text: str, column: str, at: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise InputError(f"reading {at}: {column} {text!r} is no number of pixels")
    return int(text)


def _ratio(text: str, at: str) -> float:
    if not text:
        return 0.0
    width, _, height = text.partition(":")
    try:
        return float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"reading {at}: ratio {text!r}; write 16:9 or 1.78") from error
