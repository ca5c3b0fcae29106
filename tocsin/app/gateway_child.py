"""Entry of the gateway process that `tocsin up` starts: configuration and the core's socket come by environment."""

from __future__ import annotations

import os

from tocsin.app.config import Config
from tocsin.app.gateway import run


def main() -> None:
    """Serve until SIGTERM."""
    socket = os.environ.pop("TOCSIN_CORE_SOCKET")
    config = Config.model_validate_json(os.environ.pop("TOCSIN_CONFIG_JSON"))
    run(config, f"unix:{socket}")


if __name__ == "__main__":
    main()
