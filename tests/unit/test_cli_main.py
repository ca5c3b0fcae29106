"""The command line as a whole: every command is there, and help names what there is to name."""

from __future__ import annotations

from pathlib import Path

from player_sim.faults import FAULTS
from server_probe.detectors import REGISTRY
from tests import cli_support
from tocsin.cli.main import COMMANDS


def test_help_lists_every_command(tmp_path: Path) -> None:
    """Each name of COMMANDS is registered by its module."""
    shown = cli_support.run("--help", cwd=tmp_path).stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("│ ") and len(line.split()) > 2}
    assert set(COMMANDS) <= listed


def test_help_names_every_fault_and_detector(tmp_path: Path) -> None:
    """A fault or detector that is added is named where people look for it."""
    simulate = cli_support.run("simulate", "--help", cwd=tmp_path).stdout
    assert [kind for kind in FAULTS if kind not in simulate] == []
    probe = cli_support.run("probe", "--help", cwd=tmp_path).stdout
    assert [name for name in REGISTRY if name not in probe] == []


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    """Status 2, and the word is named."""
    done = cli_support.run("simulat", cwd=tmp_path)
    assert done.returncode == 2
    assert "simulat" in done.stderr
