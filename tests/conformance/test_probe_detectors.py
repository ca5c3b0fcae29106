"""The laws of every registered detector, on synthetic input whose defects are known."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from server_probe.detectors import REGISTRY, Detector, Finding, Mark, Picture, Sound
from tests.probe_support import FPS, RATE_HZ, Event, clean_events, feed


@dataclass(frozen=True)
class Plan:
    """How to damage a clean clip of 10 s between 3 and 6 s so that one detector must speak, and how exact it is."""

    damage: Callable[[Event], list[Event]]
    tolerance_s: float = 0.05


def inside(event: Event) -> bool:
    return 3.0 <= event.at_s < 6.0


def with_picture(event: Event, luma: int) -> list[Event]:
    if not isinstance(event, Picture) or not inside(event):
        return [event]
    planes = (np.full_like(event.planes[0], luma), *event.planes[1:])
    return [Picture(event.at_s, event.duration_s, planes)]


def frozen(event: Event) -> list[Event]:
    if not isinstance(event, Picture) or not inside(event):
        return [event]
    still = np.random.default_rng(5).integers(40, 200, event.luma.shape, dtype=np.uint8)
    return [Picture(event.at_s, event.duration_s, (still, *event.planes[1:]))]


def corrupt(event: Event) -> list[Event]:
    if not isinstance(event, Picture) or not inside(event):
        return [event]
    return [Picture(event.at_s, event.duration_s, event.planes, is_corrupt=True)]


def without_packets(event: Event) -> list[Event]:
    return [] if isinstance(event, Mark) and event.kind == "video" and inside(event) else [event]


def with_sound(event: Event, level: float) -> list[Event]:
    if not isinstance(event, Sound) or not inside(event):
        return [event]
    return [Sound(event.at_s, np.full_like(event.samples, level), event.rate_hz)]


PLANS = {
    "black": Plan(lambda event: with_picture(event, 16)),
    "freeze": Plan(frozen),
    "corruption": Plan(corrupt),
    "gaps": Plan(without_packets),
    "silence": Plan(lambda event: with_sound(event, 0.001)),
    "clipping": Plan(lambda event: with_sound(event, 1.0), tolerance_s=1.05),
}
BLOCK_S = 1024 / RATE_HZ


@pytest.fixture(params=sorted(REGISTRY))
def name(request: pytest.FixtureRequest) -> str:
    """Each registered detector."""
    assert isinstance(request.param, str)
    return request.param


def damaged(name: str) -> Iterator[Event]:
    for event in clean_events():
        yield from PLANS[name].damage(event)


def test_every_detector_has_a_plan() -> None:
    """A detector that is registered without a plan here is not covered by the suite."""
    assert set(PLANS) == set(REGISTRY)


def test_its_name_is_the_key_it_is_found_by(name: str) -> None:
    """Configuration and findings use one word."""
    detector = REGISTRY[name]()
    assert detector.name == name
    assert detector.needs <= {"marks", "pictures", "sound"}


def test_a_clean_clip_gives_nothing(name: str) -> None:
    """Moving picture, live sound, whole timestamps: silent."""
    assert feed(REGISTRY[name](), clean_events()).finish(10.0) == []


def test_the_defect_is_found_once_and_in_place(name: str) -> None:
    """One defect is one finding, at the right time, with a value that passes its threshold."""
    findings = feed(REGISTRY[name](), damaged(name)).finish(10.0)
    assert len(findings) == 1
    tolerance_s = PLANS[name].tolerance_s + BLOCK_S
    assert findings[0].start_s == pytest.approx(3.0, abs=tolerance_s)
    assert findings[0].end_s == pytest.approx(6.0, abs=tolerance_s)
    assert findings[0].detector == name
    assert findings[0].start_s <= findings[0].worst_s <= findings[0].end_s


def test_an_event_open_at_the_end_is_closed(name: str) -> None:
    """A clip that ends inside the defect still tells it, up to its end."""
    cut = [event for event in damaged(name) if event.at_s < (5.0 if name != "gaps" else 10.0)]
    if name == "gaps":
        cut = [event for event in cut if not (isinstance(event, Mark) and event.kind == "video" and event.at_s >= 3.0)]
    end_s = 5.0 if name != "gaps" else 10.0
    findings = feed(REGISTRY[name](), cut).finish(end_s)
    assert len(findings) == 1
    assert findings[0].end_s <= end_s + BLOCK_S
    assert findings[0].end_s >= end_s - PLANS[name].tolerance_s - BLOCK_S


@pytest.mark.parametrize("at", [0.0, 0.25, 0.45, 0.6, 0.9])
def test_restored_state_gives_the_same_findings(name: str, at: float) -> None:
    """A detector that takes over from another's state in the middle of a clip finds what one alone finds."""
    events = list(damaged(name))
    cut = int(at * len(events))
    first = feed(REGISTRY[name](), events[:cut])
    second = REGISTRY[name]()
    second.restore(copy.deepcopy(first.state()))
    assert feed(second, events[cut:]).finish(10.0) == feed(REGISTRY[name](), events).finish(10.0)


def test_findings_come_in_order_and_are_bounded(name: str) -> None:
    """A thousand defects give a bounded list in order of time, and say that there were more."""
    findings = feed(REGISTRY[name](), flickering(name)).finish(2_400.0)
    assert 1 < len(findings) <= 64
    assert [one.start_s for one in findings] == sorted(one.start_s for one in findings)
    assert all(one.start_s < one.end_s for one in findings)
    assert "more" in findings[-1].note


def flickering(name: str) -> Iterator[Event]:
    """2,400 s in which 1.2 s of every 4 s are damaged, at few pictures a second to stay cheap."""
    rng = np.random.default_rng(3)
    chroma = np.full((2, 2), 128, dtype=np.uint8)
    for step in range(2_400 * 5):
        at_s = step / 5
        shifted = 3.5 if at_s % 4 < 1.2 else 0.0
        planes = (rng.integers(40, 200, (32, 32), dtype=np.uint8), chroma, chroma)
        samples = rng.uniform(-0.5, 0.5, (1_600, 1)).astype(np.float32)
        for event in (Mark("video", shifted, 0.2), Picture(shifted, 0.2, planes), Sound(shifted, samples, 8_000)):
            for one in PLANS[name].damage(event):
                yield moved(one, at_s)


def moved(event: Event, at_s: float) -> Event:
    if isinstance(event, Mark):
        return Mark(event.kind, at_s, event.duration_s, event.is_key, event.is_corrupt)
    if isinstance(event, Picture):
        return Picture(at_s, event.duration_s, event.planes, event.is_corrupt)
    return Sound(at_s, event.samples, event.rate_hz)


def test_pictures_a_second_do_not_matter(name: str) -> None:
    """The clean clip at half the frame rate is as clean."""
    kept = [event for event in clean_events() if not isinstance(event, Picture) or round(event.at_s * FPS) % 2 == 0]
    kept = [Picture(e.at_s, 2 / FPS, e.planes) if isinstance(e, Picture) else e for e in kept]
    findings: list[Finding] = feed(REGISTRY[name](), kept).finish(10.0)
    assert findings == []


def test_the_protocol_is_met(name: str) -> None:
    """Every registered class can be used where a detector is asked for."""
    detector: Detector = REGISTRY[name]()
    assert detector.finish(0.0) == []
