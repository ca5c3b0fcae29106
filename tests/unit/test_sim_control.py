"""The simulated service's CDN switch over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from player_sim.control import serve_control
from tocsin.model.errors import InputError


class Service:
    """Records what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None, float]] = []

    def drain(self, cdn: str, device: str | None = None, share: float = 1.0) -> int:
        self.calls.append((cdn, device, share))
        return 42

    def viewers(self, cdn: str, device: str | None = None) -> int:
        if cdn != "cdn-b":
            raise InputError(f"looking up cdn {cdn!r}: known are cdn-b")
        return 50

    def status(self) -> dict[str, Any]:
        return {"watching": 7}


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ({"cdn": "cdn-b"}, ("cdn-b", None, 1.0)),
        ({"cdn": "cdn-b", "device": "tv", "weight": 0.25}, ("cdn-b", "tv", 0.75)),
        ({"cohort": {"cdn": "cdn-b", "device": "tv"}, "rule": "rebuffering", "state": "firing"}, ("cdn-b", "tv", 1.0)),
    ],
)
def test_a_request_drains_what_it_names(body: dict[str, Any], call: tuple[str, str | None, float]) -> None:
    """Fields or an incident's cohort name CDN and device; the answer says how many viewers move."""
    service = Service()
    with serve_control(service) as url:
        answer = httpx.post(f"{url}/cdn/weights", json=body, timeout=10)
    assert answer.status_code == 200
    assert answer.json()["moved"] == 42
    assert service.calls == [call]


def test_a_dry_run_checks_and_changes_nothing() -> None:
    """It answers how many viewers there are."""
    service = Service()
    with serve_control(service) as url:
        answer = httpx.post(f"{url}/cdn/weights", json={"cdn": "cdn-b", "dry_run": True}, timeout=10)
        assert httpx.get(f"{url}/status", timeout=10).json() == {"watching": 7}
    assert answer.json() == {
        "cdn": "cdn-b", "device": None, "weight": 0.0, "dry_run": True, "viewers": 50, "moved": 0,
    }  # fmt: skip
    assert service.calls == []


@pytest.mark.parametrize("body", [{}, {"cdn": "cdn-z"}, {"cdn": "cdn-b", "weight": 2}, {"cohort": {"device": "tv"}}])
def test_what_cannot_be_done_is_refused(body: dict[str, Any]) -> None:
    """No CDN, an unknown one, or a weight that is none: 422 with the reason, nothing changes."""
    service = Service()
    with serve_control(service) as url:
        answer = httpx.post(f"{url}/cdn/weights", json=body, timeout=10)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert service.calls == []
