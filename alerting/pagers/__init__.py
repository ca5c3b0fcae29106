"""Pagers, one file each, found here by the `PAGER` in each: from a page to the HTTP request that tells somebody.

A pager builds requests and sends nothing: the outbox sends, retries and remembers. `level_triggered` pagers forget, and
so are told the present state again and again instead of each change once.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from alerting.ruleset import nearest
from tocsin.model.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PagerRequest:
    """What is sent: one HTTP request."""

    method: str
    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Pager(Protocol):
    """Builds requests for one receiver."""

    @property
    def name(self) -> str:
        """The receiver's name."""
        ...

    @property
    def level_triggered(self) -> bool:
        """Told the state of open incidents every minute rather than each change once."""
        ...

    def request(self, page: Mapping[str, Any], key: str, now_ms: int) -> PagerRequest:
        """The request that tells `page`; the receiver deduplicates by `key`."""
        ...


@dataclass(frozen=True, slots=True)
class PagerType:
    """A kind of pager: its `type` in the configuration, and how to make one from its table."""

    type: str
    build: Callable[[Mapping[str, Any]], Pager]
    keys: tuple[str, ...]
    required: tuple[str, ...] = ("name", "url")


def _types() -> dict[str, PagerType]:
    found: dict[str, PagerType] = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "PAGER", None)
        if isinstance(kind, PagerType):
            found[kind.type] = kind
    return found


def build(config: Mapping[str, Any]) -> Pager:
    """A pager from its configuration table; raises `ConfigError` naming the key and the nearest known one."""
    types = _types()
    name = str(config.get("type", ""))
    kind = types.get(name)
    if kind is None:
        raise ConfigError(f"configuring receiver {config.get('name')!r}: unknown type {name!r}{nearest(name, types)}")
    for key in config:
        if key not in (*kind.keys, "type", "severities"):
            hint = nearest(key, kind.keys)
            raise ConfigError(f"configuring receiver {config.get('name')!r}: unknown key {key!r}{hint}")
    for key in kind.required:
        if not config.get(key):
            raise ConfigError(f"configuring a {name} receiver: {key} is missing")
    return kind.build(config)
