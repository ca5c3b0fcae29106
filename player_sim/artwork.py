"""A small artwork bucket on disk with its inventory, and images missing on purpose: what `tocsin artwork` looks at."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS: Mapping[str, tuple[int, int]] = {"poster": (200, 300), "backdrop": (320, 180), "logo": (160, 90)}
"""Image kinds and their pixels."""
LANGUAGES: tuple[str, ...] = ("de", "en", "es", "fr", "ja", "ko", "pt")

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Launch:
    """A title and when it launches, epoch ms."""

    title: str
    launch_ms: int


def make_bucket(
    folder: Path, launches: Sequence[Launch], missing: Collection[Key], languages: Sequence[str] = LANGUAGES
) -> Path:
    """Write every image but the `missing` ones (title, lang, kind) under `folder`; returns the inventory's path."""
    folder.mkdir(parents=True, exist_ok=True)
    inventory = folder / "inventory.csv"
    with inventory.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("title", "lang", "kind", "path", "launch", "min_width", "min_height", "ratio"))
        for launch in launches:
            for lang in languages:
                for kind, (width, height) in KINDS.items():
                    path = f"{launch.title}/{lang}/{kind}.png"
                    when = datetime.fromtimestamp(launch.launch_ms / 1000, UTC).isoformat()
                    rows.writerow((launch.title, lang, kind, path, when, width, height, f"{width}:{height}"))
                    file = folder / path
                    if (launch.title, lang, kind) in missing:
                        file.unlink(missing_ok=True)
                    else:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        _draw(file, launch.title, lang, width, height)
    return inventory


def _draw(file: Path, title: str, lang: str, width: int, height: int) -> None:
    shade = np.random.default_rng(list(title.encode())).integers(40, 200, 3)
    image = Image.new("RGB", (width, height), tuple(int(part) for part in shade))
    ImageDraw.Draw(image).text((8, height // 2), f"{title}\n{lang}", fill=(255, 255, 255))
    image.save(file, "PNG")
