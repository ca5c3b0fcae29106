"""Look for expected images over HTTP: present, missing, or wrong (too small, wrong ratio, not an image).

A HEAD tells whether the image is there; where the inventory states a size, the first bytes are fetched and their header
is read. An image whose server does not answer properly is neither: it is `unknown`, and nothing is published of it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

import httpx
from PIL import Image, UnidentifiedImageError

from artwork.inventory import ExpectedImage

State = Literal["present", "missing", "wrong", "unknown"]
HEADER_BYTES_MAX = 262_144
RATIO_TOLERANCE = 0.02
_GONE = (404, 410)
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one expected image; `detail` says why where it is not present."""

    image: ExpectedImage
    state: State
    detail: str = ""


async def check(
    images: Sequence[ExpectedImage],
    base_url: str,
    concurrency: int = 64,
    timeout_s: float = 10.0,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Finding]:
    """Look for all images, at most `concurrency` at a time; findings in the order of `images`.

    `progress` is called with the number done so far.
    """
    findings: list[Finding | None] = [None] * len(images)
    pending = iter(range(len(images)))
    done = 0
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=timeout_s, follow_redirects=True, max_redirects=3) as client:

        async def work() -> None:
            nonlocal done
            for at in pending:
                findings[at] = await _look(client, images[at], base_url)
                done += 1
                progress(done)

        await asyncio.gather(*(work() for _ in range(min(concurrency, len(images)))))
    return [finding for finding in findings if finding is not None]


async def _look(client: httpx.AsyncClient, image: ExpectedImage, base_url: str) -> Finding:
    url = urljoin(base_url.rstrip("/") + "/", image.path)
    sized = bool(image.min_width or image.min_height or image.ratio)
    detail = ""
    for _ in range(_ATTEMPTS):
        try:
            if sized:
                return await _look_inside(client, image, url)
            answer = await client.head(url)
            state = _state_of(answer)
            if state != "unknown":
                return Finding(image, state, "" if state == "present" else f"HTTP {answer.status_code}")
            detail = f"HTTP {answer.status_code}"
        except httpx.HTTPError as error:
            detail = f"{type(error).__name__}: {error}"
    return Finding(image, "unknown", f"{url}: {detail}")


def _state_of(answer: httpx.Response) -> State:
    if answer.status_code in _GONE:
        return "missing"
    if not answer.is_success:
        return "unknown"
    if answer.headers.get("content-length") == "0":
        return "missing"
    return "present"


async def _look_inside(client: httpx.AsyncClient, image: ExpectedImage, url: str) -> Finding:
    async with client.stream("GET", url) as answer:
        state = _state_of(answer)
        if state != "present":
            return Finding(image, state, f"HTTP {answer.status_code}")
        head = b""
        async for part in answer.aiter_bytes():
            head += part
            if len(head) >= HEADER_BYTES_MAX:
                break
    return _measure(image, head)


def _measure(image: ExpectedImage, head: bytes) -> Finding:
    try:
        with Image.open(io.BytesIO(head)) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        return Finding(image, "wrong", f"not an image: {error}")
    if width < image.min_width or height < image.min_height:
        return Finding(image, "wrong", f"{width}×{height}, needs {image.min_width}×{image.min_height}")
    if image.ratio and abs(width / height / image.ratio - 1) > RATIO_TOLERANCE:
        return Finding(image, "wrong", f"ratio {width / height:.2f}, needs {image.ratio:.2f}")
    return Finding(image, "present")
