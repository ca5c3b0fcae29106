"""Entry of the gateway process that `tocsin up` starts: configuration and the core's socket come by environment."""

from __future__ import annotations

import os
import signal
import threading

from tocsin.app.config import Config
from tocsin.app.gateway import run


def main() -> None:
    """Serve until SIGTERM."""
    socket = os.environ.pop("TOCSIN_CORE_SOCKET")
    config = Config.model_validate_json(os.environ.pop("TOCSIN_CONFIG_JSON"))
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    run(config, f"unix:{socket}")


def _end_with_parent() -> None:
    """Drain and stop once the parent's end of stdin closes."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
