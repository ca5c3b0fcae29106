"""Rule kinds, one file each, found here. Pure: no client, no clock, no socket.

To add a kind: write a module in this folder with a `KIND`. Nothing else changes: schema, engine and docs find it.
"""

from __future__ import annotations

import importlib
import pkgutil

from alerting.rules.kinds import Kind

__all__ = ["KINDS", "Kind"]


def _kinds() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if isinstance(kind, Kind):
            found[kind.name] = kind
    return found


KINDS: dict[str, Kind] = _kinds()
