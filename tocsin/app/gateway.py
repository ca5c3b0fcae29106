"""The ingest role: the gateway over the configured log, alone or in front of a core process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import httpx

from ingest import app as ingest_app
from ingest.settings import IngestSettings, WriteKey
from tocsin.app.config import Config
from tocsin.app.logs import open_writer
from tocsin.app.memory import calm_gc, keep_freed
from tocsin.app.proxy import ReverseProxy

POLL_EVERY_S = 1.0
POLL_TIMEOUT_S = 5.0


class CorePoll:
    """The core's client hints and readiness, asked for in the background so that no heartbeat waits for them."""

    def __init__(self, target: str, token: str = "") -> None:
        uds = target.removeprefix("unix:") if target.startswith("unix:") else None
        self._client = httpx.Client(
            base_url="http://core" if uds else target, transport=httpx.HTTPTransport(uds=uds), timeout=POLL_TIMEOUT_S,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip
        self._hints: Sequence[Mapping[str, Any]] = ()
        self._ready: tuple[bool, Mapping[str, Any]] = (False, {"core": "starting"})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="core-poll", daemon=True)
        self._thread.start()

    def hints(self) -> Sequence[Mapping[str, Any]]:
        """The hints that held at the last poll."""
        return self._hints

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the core was ready at the last poll, and the state of its parts."""
        return self._ready

    def close(self) -> None:
        """Stop polling."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(POLL_EVERY_S):
            try:
                answer = self._client.get("/v1/hints")
                self._hints = answer.json()["hints"] if answer.is_success else ()
                state = self._client.get("/readyz")
                self._ready = (state.is_success, state.json())
            except (httpx.HTTPError, ValueError, KeyError) as error:
                self._hints = ()  # a core that is away has no advice to give
                self._ready = (False, {"core": f"away: {error}"})


def settings_of(config: Config) -> IngestSettings:
    """The gateway's settings of a configuration."""
    keys = [WriteKey(key, f"player-{at}") for at, key in enumerate(config.write_keys, 1)]
    keys += [WriteKey(key, f"bulk-{at}", bulk=True, publish=True) for at, key in enumerate(config.bulk_keys, 1)]
    if config.admin_key:
        keys.append(WriteKey(config.admin_key, "admin", bulk=True, publish=True, backfill=True))
    return IngestSettings(
        host=config.host,
        port=config.port,
        keys=tuple(keys),
        trusted_proxies=tuple(config.trusted_proxies),
        geo_country_header=config.geo_country_header,
        geo_asn_header=config.geo_asn_header,
    )


def run(config: Config, core: str = "") -> None:
    """Serve until SIGTERM; `core` ("unix:/path" or a base URL) answers what the gateway does not.

    Without a core, hints come from the alerting role where `alerting_url` is set; whether that is up is not asked for:
    heartbeats are taken all the same.
    """
    keep_freed()
    writer = open_writer(config)
    source = core or config.alerting_url
    poll = CorePoll(source, config.service_token) if source else None
    calm_gc()
    try:
        if poll is None:
            ingest_app.serve(writer, config.clock.now_ms, settings_of(config))
        elif not core:
            ingest_app.serve(writer, config.clock.now_ms, settings_of(config), hints=poll.hints)
        else:
            fallback = ReverseProxy(core)
            ingest_app.serve(
                writer, config.clock.now_ms, settings_of(config), fallback, poll.hints,
                on_stop=fallback.aclose, behind=poll.ready, figures=partial(fallback.get, "/metrics"),
            )  # fmt: skip
    finally:
        if poll is not None:
            poll.close()
        writer.close()
