"""The alerting role: engine, outbox and remediations over one store and one state database."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter

import alerting
from alerting import actions, pagers, ruleset
from alerting.api import create_router
from alerting.budget import Budget
from alerting.delivery import Outbox
from alerting.desk import Receiver
from alerting.engine import AlertEngine, EngineConfig, Flag
from alerting.incidents import Holds
from alerting.remedy import ActionRunner
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.adapters.store.port import Store
from tocsin.app.config import Config
from tocsin.app.loops import Loops, each_s
from tocsin.model.catalogue import METRICS
from tocsin.model.errors import ConfigError

DEFAULT_RULES = Path(alerting.__file__).parent / "default_rules.yaml"
SEND_EVERY_S = 0.5


class Alerts:
    """Everything that alerting runs in this process; `start` adds its loops, `router` its routes."""

    def __init__(self, config: Config, store: Store, on_flag: Callable[[Flag], None]) -> None:
        self._clock = config.clock
        self._tick_ms = int(config.alert_tick_s * 1000)
        base_url = config.public_url or f"http://{config.host}:{config.port}"
        tables = list(config.pagers)
        if config.alertmanager_url:
            tables.append({"type": "alertmanager", "name": "alertmanager", "url": config.alertmanager_url})
        built = [pagers.build(table) for table in tables]
        remedies = [actions.build(table) for table in config.actions]
        self.state = SqliteState(config.data / "state.db")
        self._client = httpx.Client()
        self.engine = AlertEngine(
            store,
            self.state,
            self._clock.now_ms,
            read_rules(config.rules),
            EngineConfig(
                base_url=base_url,
                timezone=config.timezone,
                holds=Holds(int(config.close_hold_s * 1000), int(config.reopen_within_s * 1000)),
                budget=Budget(config.false_pages_a_week),
                cubes=config.declared_cubes,
                receivers=[_receiver(pager, table) for pager, table in zip(built, tables, strict=True)],
                actions=frozenset(remedy.name for remedy in remedies),
            ),
            on_flag,
        )
        self._outbox = Outbox(
            self.state, built, self._clock.now_ms, self._client, random.SystemRandom().random, base_url
        )
        self._runner = ActionRunner(self.engine.desk, remedies, self._clock.now_ms, self._client)

    def start(self, loops: Loops) -> None:
        """Evaluate every tick of the configured clock; send and remediate twice a second."""
        self._runner.recover()
        loops.every("alerting", self.engine.tick, self._wait_for_tick)
        loops.every("outbox", self._outbox.run_once, each_s(SEND_EVERY_S))
        loops.every("actions", self._runner.run_once, each_s(SEND_EVERY_S))

    def receivers_away(self) -> dict[str, str]:
        """Receivers whose last delivery failed, and why."""
        return dict(self._outbox.last_error)

    def router(self, who: Callable[..., str]) -> APIRouter:
        """Incidents, rules, silences, events, hints; `who` names a request's caller for timelines."""
        return create_router(self.engine, self._runner, who=who)

    def close(self) -> None:
        """Release."""
        self._client.close()
        self.state.close()

    def _wait_for_tick(self, stop: threading.Event) -> bool:
        now_ms = self._clock.now_ms()
        return self._clock.wait_until(now_ms - now_ms % self._tick_ms + self._tick_ms, stop)


def read_rules(path: Path | None) -> tuple[ruleset.Rule, ...]:
    """The rules of a file, or the shipped ones."""
    file = path or DEFAULT_RULES
    try:
        text = file.read_text()
    except OSError as error:
        raise ConfigError(f"reading the rules {file}: {error}") from error
    return ruleset.parse(text, str(file), METRICS)


def _receiver(pager: pagers.Pager, table: dict[str, Any]) -> Receiver:
    severities = table.get("severities")
    return Receiver(pager.name) if severities is None else Receiver(pager.name, tuple(severities))
