"""The picture that goes on the page: the worst frame, the healthy sibling beside it, and a strip that shows when.

Left, framed red: what the viewer had on the screen. Right, framed green: the same moment of a rendition or CDN that is
whole; framed grey: the last moment of the defect itself where there is no healthy one. Blocks in which a corrupt
picture departs from its sibling are outlined. Below: the seconds that were looked at, the defect in red, the moment in
white.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from server_probe.wire import Still

Pixels = npt.NDArray[np.uint8]

RED, GREEN, GREY, WHITE, DARK = (220, 40, 40), (40, 170, 80), (150, 150, 150), (255, 255, 255), (24, 26, 30)
FRAME_PX = 4
STRIP_PX = 14
BLOCK_PX = 16
BLOCK_DIFFERENCE_MIN = 24.0
"""Grey levels by which a block must depart from the sibling's to be outlined."""
BLOCKS_SHARE_MAX = 0.6
"""Where more of the picture departs, outlines say nothing: the frame around it is enough."""


def png(pixels: Pixels) -> bytes:
    """Height × width × 3, 8 bits → a PNG file (source: W3C PNG, truecolour, no filter)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = pixels.reshape(height, 3 * width)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )


def pixels_of(still: Still) -> Pixels:
    """Height × width × 3."""
    return np.frombuffer(still.rgb, dtype=np.uint8).reshape(still.height, still.width, 3)


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """The nearest pixels at another size."""
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    scaled: Pixels = pixels[rows[:, None], columns[None, :]]
    return scaled


def damaged_blocks(bad: Pixels, good: Pixels) -> list[tuple[int, int]]:
    """Rows and columns of the 16-pixel blocks in which `bad` departs from `good`; none where most of them do."""
    height, width = bad.shape[0] // BLOCK_PX * BLOCK_PX, bad.shape[1] // BLOCK_PX * BLOCK_PX
    if not height or not width:
        return []
    difference = np.abs(bad.mean(axis=2) - resized(good, *bad.shape[:2]).mean(axis=2))[:height, :width]
    blocks = difference.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX).mean(axis=(1, 3))
    marked = np.argwhere(blocks - np.median(blocks) >= BLOCK_DIFFERENCE_MIN)
    if len(marked) > BLOCKS_SHARE_MAX * blocks.size:
        return []
    return [(int(row) * BLOCK_PX, int(column) * BLOCK_PX) for row, column in marked]


def _outline(pixels: Pixels, top: int, left: int, size: int) -> None:
    pixels[top : top + size, (left, left + size - 1)] = RED
    pixels[(top, top + size - 1), left : left + size] = RED


def _framed(pixels: Pixels, colour: tuple[int, int, int]) -> Pixels:
    framed = np.empty((pixels.shape[0] + 2 * FRAME_PX, pixels.shape[1] + 2 * FRAME_PX, 3), dtype=np.uint8)
    framed[:] = colour
    framed[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = pixels
    return framed


def _strip(width: int, window: tuple[float, float], defect: tuple[float, float], moment_s: float) -> Pixels:
    strip = np.empty((STRIP_PX, width, 3), dtype=np.uint8)
    strip[:] = DARK
    length_s = max(1e-6, window[1] - window[0])

    def column(at_s: float) -> int:
        return int(min(1.0, max(0.0, (at_s - window[0]) / length_s)) * (width - 1))

    strip[4:-4] = GREY
    strip[4:-4, column(defect[0]) : column(defect[1]) + 1] = RED
    at = column(moment_s)
    strip[2:-2, max(0, at - 1) : at + 1] = WHITE
    return strip


def evidence_png(
    bad: Still,
    beside: Still | None,
    *,
    beside_is_healthy: bool,
    mark_blocks: bool,
    window: tuple[float, float],
    defect: tuple[float, float],
) -> bytes:
    """The evidence picture of one defect; `window` and `defect` are (start_s, end_s)."""
    left = pixels_of(bad).copy()
    panels = []
    right = None if beside is None else resized(pixels_of(beside), left.shape[0], left.shape[1])
    if right is not None and beside_is_healthy and mark_blocks:
        for top, start in damaged_blocks(left, right):
            _outline(left, top, start, BLOCK_PX)
    panels.append(_framed(left, RED))
    if right is not None:
        panels.append(_framed(right, GREEN if beside_is_healthy else GREY))
    picture = np.concatenate(panels, axis=1)
    strip = _strip(picture.shape[1], window, defect, bad.at_s)
    return png(np.concatenate([picture, strip], axis=0))
