"""Atlas's recorded answers over the whole line: published to `tocsin up`, counted, stored and asked again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((ROOT.parent / "shared" / "golden" / "atlas" / "cases").glob("*.json"))


@pytest.mark.skipif(not CASES, reason="the recorded answers are not beside this checkout")
def test_running_service_answers_as_atlas_did() -> None:
    """All recorded questions agree over HTTP."""
    program = [sys.executable, str(ROOT / "tests" / "golden" / "atlas_up.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} of {len(CASES)} agree" in done.stdout
