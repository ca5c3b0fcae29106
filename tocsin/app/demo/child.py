"""Entry of the process in which the demonstration runs `tocsin up`: its configuration is a file of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

from tocsin.app.config import Config
from tocsin.app.up import run


def main() -> None:
    """Run until SIGTERM."""
    sys.exit(run(Config.model_validate_json(Path(sys.argv[1]).read_bytes())))


if __name__ == "__main__":
    main()
