"""Remediations, one file each, found here by the `ACTION` in each: from an incident to a request that changes things.

An action builds one HTTP request and sends nothing; `alerting.remedy` asks for approval, limits the rate, sends at most
once, and writes the outcome on the incident.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alerting.pagers import PagerRequest
from alerting.ruleset import nearest
from tocsin.model.errors import ConfigError


class Action(Protocol):
    """Builds the request of one configured remediation."""

    def request(self, incident: Mapping[str, Any], key: str) -> PagerRequest:
        """The request for an incident's page; raises `InputError` where the incident lacks what it needs."""
        ...


@dataclass(frozen=True, slots=True)
class ActionType:
    """A kind of action: its `type` in the configuration and how to make one from its table."""

    type: str
    build: Callable[[Mapping[str, Any]], Action]
    keys: tuple[str, ...]
    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfiguredAction:
    """An action with its safety catches: dry run unless turned off, approval unless waived, a limit an hour."""

    name: str
    action: Action
    dry_run: bool = True
    approval: bool = True
    per_hour: int = 2


_SAFETY = ("name", "type", "dry_run", "approval", "per_hour")


def _types() -> dict[str, ActionType]:
    found: dict[str, ActionType] = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "ACTION", None)
        if isinstance(kind, ActionType):
            found[kind.type] = kind
    return found


def build(config: Mapping[str, Any]) -> ConfiguredAction:
    """An action from its configuration table; raises `ConfigError` naming the key and the nearest known one."""
    types = _types()
    name, type_name = str(config.get("name", "")), str(config.get("type", "http_call"))
    kind = types.get(type_name)
    if not name or kind is None:
        raise ConfigError(f"configuring action {name!r}: unknown type {type_name!r}{nearest(type_name, types)}")
    known = (*kind.keys, *_SAFETY)
    for key in config:
        if key not in known:
            raise ConfigError(f"configuring action {name!r}: unknown key {key!r}{nearest(key, known)}")
    for key in kind.required:
        if not config.get(key):
            raise ConfigError(f"configuring action {name!r}: {key} is missing")
    return ConfiguredAction(
        name, kind.build(config), bool(config.get("dry_run", True)), bool(config.get("approval", True)),
        int(config.get("per_hour", 2)),
    )  # fmt: skip
