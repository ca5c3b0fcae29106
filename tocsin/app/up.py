"""`tocsin up`: the embedded pair of processes behind one URL, started, watched and stopped together.

The core runs in this process; the gateway is a child, for one process must not wait for the other. SIGTERM stops the
gateway first, so that whatever it has acknowledged is in the log before the core takes its last bucket.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from tocsin.app.config import Config
from tocsin.app.memory import calm_gc, keep_freed

STOP_S = 45.0


class GatewayChild:
    """The gateway as a child process in front of `socket`; if it dies, this process ends too."""

    def __init__(self, config: Config, socket: Path) -> None:
        environment = {**os.environ, "TOCSIN_CORE_SOCKET": str(socket), "TOCSIN_CONFIG_JSON": config.model_dump_json()}
        # The child holds the read end of its stdin: when this process dies, however it dies, the pipe closes.
        command = [sys.executable, "-m", "tocsin.app.gateway_child"]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
        self._stopping = False
        threading.Thread(target=self._watch, name="gateway-watch", daemon=True).start()

    def stop(self) -> int:
        """SIGTERM, wait for the drain, and kill what does not end; returns its exit status. Again: does nothing."""
        self._stopping = True
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _watch(self) -> None:
        self._process.wait()
        if not self._stopping:
            os.kill(os.getpid(), signal.SIGTERM)


def run(config: Config) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status.

    The gateway starts first: it takes heartbeats into the log while the core still loads.
    """
    keep_freed()  # before there are threads: those that have begun keep their own heaps
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # while loading; serving has its own
    config.data.mkdir(parents=True, exist_ok=True)
    if not config.is_loopback:
        from tocsin.app.access import Access  # not on the way of a gateway that may start at once

        Access(config).close()  # raises where nobody has a token
    if not config.service_token:
        config = config.model_copy(update={"service_token": secrets.token_urlsafe(32)})
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder, ExitStack() as stack:
        socket = Path(folder) / "core.sock"  # a short path: socket paths are limited to 107 bytes
        gateway = GatewayChild(config, socket)
        stack.callback(gateway.stop)
        from tocsin.app import core

        process = core.Core(config)
        stack.callback(process.close)
        calm_gc()
        status = core.serve(process, uds=str(socket))
        return status or (1 if gateway.stop() > 0 else 0)
