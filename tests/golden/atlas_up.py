"""Ask a running Tocsin the recorded questions: `python tests/golden/atlas_up.py [--cases DIR]` prints N of M.

Starts `tocsin up` on a free port in a folder of its own with retention for the recorded data, publishes them through
the public API with a key that may back-fill, waits until the last of them is counted, and runs check.py.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden" / "atlas"
START_S = 60.0
COUNTED_S = 60.0
BATCH = 5_000


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> bytes:
    """The body of an answer, empty while the server does not answer."""
    try:
        return httpx.get(url, timeout=10).content
    except httpx.HTTPError:
        return b""


def wait_for(what: str, url: str, wanted: bytes, limit_s: float, process: subprocess.Popen[bytes]) -> None:
    """Ask a URL until its answer has a text in it."""
    deadline = time.monotonic() + limit_s
    pause = threading.Event()
    while wanted not in get(url):
        if process.poll() is not None:
            raise SystemExit(f"tocsin up ended with {process.returncode} before it was {what}")
        if time.monotonic() > deadline:
            raise SystemExit(f"not {what} after {limit_s:g} s: {url}")
        pause.wait(0.2)


def publish(base: str, key: str) -> None:
    """Send the recorded points; anything but success ends the run."""
    data = json.loads((GOLDEN / "input.json").read_text())
    for i in range(0, len(data["metrics"]), BATCH):
        body = {"tags": data["tags"], "metrics": data["metrics"][i : i + BATCH]}
        answer = httpx.post(f"{base}/api/v1/publish", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        if answer.status_code != 200:
            raise SystemExit(f"publish answered {answer.status_code}: {answer.text[:300]}")


def run(cases: Path) -> int:
    """Start, publish, wait, check; gives the exit status of the check."""
    key = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="golden-atlas-") as folder:
        port = free_port()
        Path(folder, "tocsin.toml").write_text(f'port = {port}\nadmin_key = "{key}"\n[keep_days]\nseries = 4000\n')
        base = f"http://127.0.0.1:{port}"
        program = [str(Path(sys.executable).with_name("tocsin")), "up"]
        with Path(folder, "up.log").open("wb") as log:
            process = subprocess.Popen(program, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            _ready(base, process)
            publish(base, key)
            last = {
                "q": "name,week.load,:eq,:count",
                "s": "e-1m",
                "e": "2026-11-20T12:00Z",
                "format": "csv",
                "tz": "UTC",
            }
            url = f"{base}/api/v1/graph?{urllib.parse.urlencode(last)}"
            wait_for("counted", url, b",1.000000", COUNTED_S, process)
            command = [sys.executable, str(GOLDEN / "check.py"), base, "--cases", str(cases)]
            return subprocess.run(command, check=False, timeout=300).returncode
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(base: str, process: subprocess.Popen[bytes]) -> None:
    wait_for("up", f"{base}/api/v1/expr/queries?q=name,a,:eq", b"name,a,:eq", START_S, process)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, default=GOLDEN / "cases")
    sys.exit(run(parser.parse_args().cases.resolve()))
