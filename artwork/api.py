"""HTTP: what image is missing right now, and the matrix of a title's images by language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from artwork.series import latest
from tocsin.adapters.store.port import Store


class ImageState(BaseModel):
    """One expected image; times are epoch ms, 0 where unknown."""

    title: str
    lang: str
    kind: str
    state: str
    since_ms: int
    launch_ms: int


class ImageStates(BaseModel):
    """States as of `now_ms`; `expected` counts all images of the inventory that the filters let through."""

    now_ms: int
    expected: int
    images: list[ImageState]


def router(store: Store, now_ms: Callable[[], int]) -> APIRouter:
    """Routes `/v1/artwork/missing` and `/v1/artwork`."""
    routes = APIRouter(prefix="/v1/artwork", tags=["artwork"])

    def states(title: str | None, lang: str | None, kind: str | None, *, missing_only: bool) -> ImageStates:
        asked = [(0, title), (1, lang), (2, kind)]
        known = {
            key: state
            for key, state in sorted(latest(store).items())
            if all(value is None or key[at] == value for at, value in asked)
        }
        images = [
            ImageState(
                title=key[0], lang=key[1], kind=key[2],
                state="wrong" if state.wrong else "missing" if state.missing else "present",
                since_ms=state.since_ms, launch_ms=state.launch_ms,
            )
            for key, state in known.items()
            if state.missing or not missing_only
        ]  # fmt: skip
        return ImageStates(now_ms=now_ms(), expected=len(known), images=images)

    Filter = Annotated[str | None, Query(max_length=200)]  # noqa: N806  a type, named as one

    @routes.get("/missing")
    def missing(title: Filter = None, lang: Filter = None, kind: Filter = None) -> ImageStates:
        """Images that are missing or wrong now, and since when."""
        return states(title, lang, kind, missing_only=True)

    @routes.get("")
    def matrix(title: Filter = None, lang: Filter = None, kind: Filter = None) -> ImageStates:
        """All expected images with their state."""
        return states(title, lang, kind, missing_only=False)

    return routes
