"""Rules as YAML: parsing, the published JSON Schema, and errors that name the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import jsonschema
import yaml

from alerting.rules import KINDS
from alerting.rules.evidence import Options
from tocsin.model.errors import ConfigError
from tocsin.model.tags import IDENTITY_KEYS

RULES_MAX = 500
SEVERITIES = ("page", "ticket", "info")
_NUMBERS = ("effect", "excess", "min_volume", "above", "below")
_DURATION = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Severity = Literal["page", "ticket", "info"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as parsed. `slices` are key sets, () for all; `windows` in minutes; `for_ms` adds to 2 of 3 ticks."""

    name: str
    metric: str
    kind: str
    slices: tuple[tuple[str, ...], ...] = ((),)
    options: Options = field(default_factory=Options)
    fallback: Options | None = None
    windows: tuple[int, ...] = (1, 5, 15, 60)
    direction: Literal["up", "down"] | None = None
    for_ms: int = 0
    severity: Severity = "page"
    probe: bool = False
    remediate: str = ""
    hint: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    runbook: str = ""
    enabled: bool = True


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a rules file: a list of rules, or a mapping with the key `rules`."""
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    properties: dict[str, Any] = {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$", "description": "unique, lower case"},
        "metric": {"type": "string", "minLength": 1, "description": "a catalogue metric or a published series"},
        "kind": {"enum": sorted(KINDS), "description": "; ".join(f"{k.name}: {k.doc}" for k in KINDS.values())},
        "slices": {
            "type": "array", "minItems": 1, "maxItems": 16,
            "items": {"type": "string", "pattern": "^[a-z_]+(,[a-z_]+){0,2}$"},
            "description": "`all`, a tag key, or up to three keys with commas",
        },
        "windows": {
            "type": "array", "minItems": 1, "uniqueItems": True,
            "items": {"type": "integer", "minimum": 1, "maximum": 60},
            "description": "minutes",
        },
        "direction": {"enum": ["up", "down"], "description": "which way is worse; the catalogue's by default"},
        "for": {"type": "string", "pattern": "^[0-9]+(s|m|h|d)$", "description": "how long it must last"},
        "min_volume": {"type": "number", "minimum": 0, "description": "plays or session-minutes in the window"},
        "effect": {"type": "number", "exclusiveMinimum": 0, "description": "how many times worse than expected"},
        "excess": {"type": "number", "minimum": 0, "description": "sessions beyond what was expected"},
        "severity": {"enum": list(SEVERITIES)},
        "labels": texts,
        "annotations": texts,
        "runbook": {"type": "string", "format": "uri"},
        "probe": {"type": "boolean", "description": "decode the streams that it names"},
        "remediate": {"type": "string", "description": "name of a configured action"},
        "hint": {"type": "object", "description": "told to the affected players; `{cdn}` stands for the cohort's"},
        "enabled": {"type": "boolean"},
        "fallback": {
            "type": "object", "additionalProperties": False,
            "properties": {name: {"type": "number"} for name in _NUMBERS},
            "description": "threshold while a slice has no history",
        },
    }  # fmt: skip
    for kind in KINDS.values():
        properties.update(kind.properties)
    rule = {
        "type": "object", "required": ["name", "metric"], "additionalProperties": False, "properties": properties,
    }  # fmt: skip
    rules = {"type": "array", "items": rule, "maxItems": RULES_MAX}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tocsin alert rules",
        "oneOf": [
            rules,
            {"type": "object", "required": ["rules"], "additionalProperties": False, "properties": {"rules": rules}},
        ],
    }


def parse(text: str, source: str, metrics: Iterable[str] | None = None) -> tuple[Rule, ...]:
    """Rules of one YAML document; raises `ConfigError` naming source, rule, field and the nearest known key.

    `metrics` are the catalogue's names: under their prefix only those are known. Other names are published series.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"reading rules from {source}: not YAML: {error}; see the published schema") from error
    items = document.get("rules") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ConfigError(f"reading rules from {source}: want a list of rules, or `rules:` with one")
    if len(items) > RULES_MAX:
        raise ConfigError(f"reading rules from {source}: {len(items)} rules; at most {RULES_MAX}")
    known = tuple(metrics) if metrics is not None else None
    validator = jsonschema.Draft202012Validator(json_schema()["oneOf"][0]["items"])
    rules: dict[str, Rule] = {}
    for index, item in enumerate(items):
        name = f" ({item['name']})" if isinstance(item, dict) and "name" in item else ""
        where = f"{source}, rule {index + 1}{name}"
        _check(validator, item, where)
        rule = _rule(cast("dict[str, Any]", item), where)
        if known is not None:
            _check_metric(rule, known, where)
        if rule.name in rules:
            raise ConfigError(f"reading rules from {where}: the name is taken by an earlier rule; choose another")
        rules[rule.name] = rule
    return tuple(rules.values())


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest known word, or the empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def _check(validator: jsonschema.Draft202012Validator, item: object, where: str) -> None:
    if isinstance(item, dict):
        known = cast("dict[str, Any]", validator.schema)["properties"]
        for key in item:
            if key not in known:
                raise ConfigError(f"reading rules from {where}: unknown key {key!r}{nearest(str(key), known)}")
        kind = item.get("kind", "week_over_week")
        if kind not in KINDS:
            raise ConfigError(f"reading rules from {where}: unknown kind {kind!r}{nearest(str(kind), KINDS)}")
        for key in item:
            owners = [name for name, other in KINDS.items() if key in other.properties]
            if owners and kind not in owners and key not in ("above", "below"):
                raise ConfigError(f"reading rules from {where}: {key!r} belongs to {', '.join(owners)}, not to {kind}")
    for error in validator.iter_errors(item):
        at = ".".join(str(part) for part in error.absolute_path) or "the rule"
        raise ConfigError(f"reading rules from {where}: {at}: {error.message}")


def _check_metric(rule: Rule, known: tuple[str, ...], where: str) -> None:
    kind = KINDS[rule.kind]
    catalogue = rule.metric in known
    if not catalogue and (rule.metric.startswith("qoe.") or kind.judge_points is None):
        raise ConfigError(f"reading rules from {where}: unknown metric {rule.metric!r}{nearest(rule.metric, known)}")
    if catalogue and kind.judge is None:
        raise ConfigError(f"reading rules from {where}: kind {rule.kind} reads published series, not {rule.metric}")


def _rule(item: dict[str, Any], where: str) -> Rule:
    kind = item.get("kind", "week_over_week")
    slices = tuple(_keys(text, where) for text in item.get("slices", ["all"]))
    extra = {key: float(item[key]) for key in KINDS[kind].properties if key in item and key not in _NUMBERS}
    return Rule(
        name=item["name"],
        metric=item["metric"],
        kind=kind,
        slices=slices,
        options=_options(item, extra),
        fallback=_options({**item, **item["fallback"]}, extra) if "fallback" in item else None,
        windows=tuple(sorted(item.get("windows", (1, 5, 15, 60)))),
        direction=item.get("direction"),
        for_ms=duration_ms(item.get("for", "0s")),
        severity=item.get("severity", "page"),
        probe=item.get("probe", False),
        remediate=item.get("remediate", ""),
        hint=item.get("hint", {}),
        labels=item.get("labels", {}),
        annotations=item.get("annotations", {}),
        runbook=item.get("runbook", ""),
        enabled=item.get("enabled", True),
    )


def _options(item: Mapping[str, Any], extra: Mapping[str, float]) -> Options:
    given = {name: float(item[name]) for name in _NUMBERS if item.get(name) is not None}
    return Options(**given, extra=extra)


def _keys(text: str, where: str) -> tuple[str, ...]:
    if text == "all":
        return ()
    keys = tuple(text.split(","))
    for key in keys:
        if key not in IDENTITY_KEYS:
            raise ConfigError(f"reading rules from {where}: slices: unknown tag {key!r}{nearest(key, IDENTITY_KEYS)}")
    return keys


def duration_ms(text: str) -> int:
    """`90s`, `5m`, `1h`, `2d` in milliseconds."""
    return int(text[:-1]) * _DURATION[text[-1]]
