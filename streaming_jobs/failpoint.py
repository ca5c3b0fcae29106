"""A place where the kill tests stop a process: it says that it is there, and waits for the SIGKILL.

`TOCSIN_FAILPOINT` names the place, `TOCSIN_FAILPOINT_FILE` a file to create on arrival, `TOCSIN_FAILPOINT_AFTER` how
often to pass it first (default 0). Where the file exists already the place is passed: a restart with the same
environment runs on. Without the variables nothing happens.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

BETWEEN_INSERTS = "between-inserts"
"""After a bucket's raw rows are stored and before its deltas are."""

_passed: dict[str, int] = {}


def reach(place: str) -> None:
    """Stop here for ever where the environment asks for it."""
    if os.environ.get("TOCSIN_FAILPOINT") != place:
        return
    flag = Path(os.environ.get("TOCSIN_FAILPOINT_FILE", "tocsin-failpoint"))
    if flag.exists():
        return
    _passed[place] = _passed.get(place, 0) + 1
    if _passed[place] <= int(os.environ.get("TOCSIN_FAILPOINT_AFTER", "0")):
        return
    flag.touch()
    threading.Event().wait()
