"""What a graph costs: CPU ms of the query process and wall ms, a request, over published series and heartbeat cubes.

    python benchmarks/bench_query.py [--repeats 7] [--check]   (CHECK=1 too)

Fills an embedded store (`query_fill.py`), starts the query part of the core on it as a process of its own and asks it
over HTTP. CPU is the process's, all threads, user and system, by the kernel's clock of it; every figure is the median
of `--repeats` requests after two that are not counted. `cold` is the first request that reads what it is about.

The budgets are what Netflix Atlas took for the same questions over the same published series. The same shapes over
cubes, which Atlas has not, are held to the same figures, and to twice those for ratios, which read two expressions. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import query_fill

from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.config import Config
from tocsin.app.dev import process as proc

START_S = 60.0
FILL_S = 400.0
WARM_UP = 2
ATLAS_RSS_MIB = 767
GRAPH = "/api/v1/graph"
PUBLISHED = f"name,{query_fill.NAME},:eq"
PLAYS = "name,qoe.plays,:eq"
RATIO = ":true,:rebuffer-ratio"


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and the most it may cost: CPU ms, or wall ms where `wall` is set."""

    name: str
    params: dict[str, str]
    budget_ms: float
    path: str = GRAPH
    wall: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of one question, ms."""

    cpu_ms: float
    wall_ms: float
    budget_ms: float
    ok: bool


def _week(q: str, **more: str) -> dict[str, str]:
    return {"q": q, "s": "e-1w", **more}


def _shapes(base: str, device: str, title: str, topk: str) -> list[tuple[str, dict[str, str], float]]:
    """The questions, with what Atlas took for them in CPU ms."""
    by_device, by_title = f"{base},(,{device},),:by", f"{base},(,{title},),:by"
    return [
        ("week_by_device", _week(by_device), 180.0),
        ("week_full_resolution", _week(base, w="1440", step="1m"), 181.0),
        ("week_by_title", _week(by_title), 383.0),
        ("day_by_device", {"q": by_device, "s": "e-1d", "w": "1440"}, 49.0),
        ("3h_over_1d_offset", {"q": f"{base},:dup,1d,:offset,:div", "s": "e-3h"}, 41.0),
        ("week_png", _week(by_device, format="png"), 400.0),
        ("topk_10", {"q": f"{base},(,{topk},),:by,max,10,:topk", "s": "e-3h"}, 162.0),
    ]


def questions() -> list[Question]:
    """All questions in the order in which they are asked."""
    found = [
        Question(f"published_{name}", params, budget)
        for name, params, budget in _shapes(f"{PUBLISHED},:sum", "device", "title", "node")
    ]
    found.append(Question("published_tags", {}, 9.0, "/api/v1/tags/node", wall=True))
    for kind, base, expressions in (("cube", f"{PLAYS},:sum", 1), ("ratio", RATIO, 2)):
        shapes = _shapes(base, "device", "title", "title")
        found += [Question(f"{kind}_{name}", params, budget * expressions) for name, params, budget in shapes]
    found.append(Question("ratio_five_weeks", {"q": f"{RATIO},(,device,),:by", "s": "e-5w"}, 360.0))
    found.append(Question("cube_tags", {}, 9.0, "/api/v1/tags/title", wall=True))
    return found


class Server:
    """The query process, asked over one connection."""

    def __init__(self, url: str, pid: int, end_ms: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=60.0)
        self._clock = (~pid << 3) | 2  # the kernel's CPU clock of a process (clock_getcpuclockid(3))
        self._pid, self._end_ms = pid, end_ms

    def ask(self, question: Question) -> tuple[float, float]:
        """CPU and wall ms of one request; the answer must have values."""
        params = {"e": str(self._end_ms), "format": "json", "tz": "UTC", **question.params}
        cpu_s, wall_s = time.clock_gettime(self._clock), time.perf_counter()
        answer = self._client.get(question.path, params=params if question.path == GRAPH else question.params)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.clock_gettime(self._clock) - cpu_s
        if answer.status_code != 200 or b"NO_DATA" in answer.content:
            raise RuntimeError(f"asking {question.name}: HTTP {answer.status_code}: {answer.text[:300]}")
        return cpu_s * 1000, wall_s * 1000

    def cost(self, question: Question, repeats: int) -> Cost:
        """Medians of several requests after a warm-up."""
        runs = [self.ask(question) for _ in range(WARM_UP + repeats)][WARM_UP:]
        cpu_ms, wall_ms = (statistics.median(column) for column in zip(*runs, strict=True))
        spent = wall_ms if question.wall else cpu_ms
        return Cost(round(cpu_ms, 1), round(wall_ms, 1), question.budget_ms, spent <= question.budget_ms)

    def rss_mib(self) -> float:
        """Memory of the process now."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def serving(folder: Path, end_ms: int) -> Iterator[Server]:
    """The query part of the core on the store in `folder`; stopped at the end of the block."""
    port, log = proc.free_port(), folder / "query.log"
    config = Config(data=folder, port=port)
    child = _spawn("--serve", config.model_dump_json(), log)
    url = f"http://127.0.0.1:{port}"
    try:
        proc.wait_until(lambda: _answers(url, child, log), f"{url}/healthz", START_S, lambda: proc.tail(log))
        yield Server(url, child.pid, end_ms)
    finally:
        child.stop()


def _spawn(option: str, value: str, log: Path) -> proc.ServerProcess:
    root = str(Path(__file__).resolve().parents[1])
    return proc.spawn([sys.executable, __file__, option, value], log, os.environ | {"PYTHONPATH": root})


def _answers(url: str, child: proc.ServerProcess, log: Path) -> bool:
    if not child.alive():
        raise RuntimeError(f"the query process has ended; its log: {proc.tail(log, 30)}")
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def _serve(config: Config) -> int:
    from tocsin.app import core

    process = core.Core(config, ("query",))
    try:
        return core.serve(process, host=config.host, port=config.port)
    finally:
        process.close()


def _fill(folder: Path) -> None:
    store = ClickHouseStore(Config(data=folder).store_dsn)
    query_fill.fill(store, _end_minute())
    store.close()


def _end_minute() -> int:
    return int(time.time() // 3600 * 60)


def measure(folder: Path, repeats: int, end_ms: int) -> dict[str, object]:
    """All figures."""
    asked = questions()
    result: dict[str, object] = {"bench": "query"}
    with serving(folder, end_ms) as server:
        empty_mib = server.rss_mib()
        for name in ("published_week_by_device", "cube_week_by_title", "ratio_week_by_title"):
            cpu_ms, wall_ms = server.ask(next(q for q in asked if q.name == name))
            result[f"cold_{name}"] = {"cpu_ms": round(cpu_ms, 1), "wall_ms": round(wall_ms, 1)}
            print(f"cold {name}: {cpu_ms:.0f} ms CPU, {wall_ms:.0f} ms", file=sys.stderr)
            if name.startswith("published"):
                result["rss_mib"] = {
                    "empty": round(empty_mib), "10_m_points": round(server.rss_mib()), "atlas": ATLAS_RSS_MIB
                }  # fmt: skip
        for question in asked:
            cost = server.cost(question, repeats)
            result[question.name] = asdict(cost)
            print(f"{question.name}: {cost.cpu_ms} ms CPU, {cost.wall_ms} ms, budget {cost.budget_ms}"
                  f"{'' if cost.ok else ' MISSED'}", file=sys.stderr)  # fmt: skip
        result["rss_mib_at_end"] = round(server.rss_mib())
    return result


def main() -> int:
    """Print progress and one JSON line; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--check", action="store_true", default=os.environ.get("CHECK") == "1")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve(Config.model_validate_json(options.serve))
    if options.fill:
        _fill(options.fill)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-query-") as name:
        folder = Path(name)
        print("filling the store, about two minutes", file=sys.stderr)
        end_ms = _end_minute() * 60_000
        filling = _spawn("--fill", name, folder / "fill.log")
        proc.wait_until(lambda: not filling.alive(), "the filled store", FILL_S, lambda: proc.tail(folder / "fill.log"))
        result = measure(folder, options.repeats, end_ms)
    missed = [name for name, cost in result.items() if isinstance(cost, dict) and cost.get("ok") is False]
    print(json.dumps(result | {"missed": missed}))
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
