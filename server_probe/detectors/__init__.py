"""One detector a file; this registry is the list that configuration, the command line and the tests choose from."""

from __future__ import annotations

from collections.abc import Iterable

from server_probe.detectors.base import Detector, Finding, Mark, Picture, Sound
from server_probe.detectors.black import BlackDetector
from server_probe.detectors.clipping import ClippingDetector
from server_probe.detectors.corruption import CorruptionDetector
from server_probe.detectors.freeze import FreezeDetector
from server_probe.detectors.gaps import GapsDetector
from server_probe.detectors.silence import SilenceDetector
from tocsin.model.errors import ConfigError

REGISTRY: dict[str, type[Detector]] = {
    kind.name: kind
    for kind in (
        BlackDetector,
        ClippingDetector,
        CorruptionDetector,
        FreezeDetector,
        GapsDetector,
        SilenceDetector,
    )
}
DEFAULT = ("gaps", "corruption", "freeze")
"""What a look without an own list runs: the two defects of pictures that viewers complain about, and holes."""


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """The names, checked and without repeats; raises `ConfigError` for one that is not registered or for none."""
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        if name not in REGISTRY:
            raise ConfigError(f"choosing detectors: {name!r} is none of {', '.join(REGISTRY)}")
    if not unique:
        raise ConfigError(f"choosing detectors: none given; name at least one of {', '.join(REGISTRY)}")
    return unique


__all__ = ["DEFAULT", "REGISTRY", "Detector", "Finding", "Mark", "Picture", "Sound", "chosen"]
