"""From a look to a verdict with its picture, on media that are made for it and served over HTTP."""

from __future__ import annotations

import shutil
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from player_sim.clips import Freeze, Gap, StreamSpec, make_stream, serve_folder
from server_probe.api import router
from server_probe.fetch import Fetcher, FetchPolicy, Origin
from server_probe.ladder import LadderLimits
from server_probe.look import Evidence, Look, TimeRange, Verdict
from server_probe.memory import MemoryQueue, MemoryVerdicts
from server_probe.probe import probe_url
from server_probe.registry import Stream, StreamRegistry
from server_probe.sampling import Sampler
from server_probe.sandbox import SandboxLimits
from server_probe.worker import ProbeWorker
from tocsin.model.errors import InputError

SECONDS = 27


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three streams of 27 s: whole, a hole of 4 s in the larger rendition, a freeze of 12 s in both."""
    folder = tmp_path_factory.mktemp("media")
    make_stream(folder, StreamSpec("healthy", seed=4, seconds=SECONDS))
    make_stream(folder, StreamSpec("gap", seed=5, seconds=SECONDS, defects=(Gap(11.0, 4.0),)))
    make_stream(folder, StreamSpec("freeze", seed=6, seconds=SECONDS, defects=(Freeze(9.0, 12.0),)))
    return folder


@pytest.fixture(scope="module")
def base(media: Path) -> Iterator[str]:
    """Their origin."""
    with serve_folder(media) as url:
        yield url


@dataclass
class Line:
    """A worker with what it needs, on a clock that stands still unless told."""

    registry: StreamRegistry
    queue: MemoryQueue
    store: MemoryVerdicts
    worker: ProbeWorker
    told: list[Evidence]

    def take(self, look: Look) -> Evidence:
        """Queue one look and have it looked at."""
        assert self.queue.enqueue(look)
        verdict = self.worker.step()
        assert verdict is not None
        assert verdict.id == look.id
        assert self.queue.waiting() == []
        return self.told[-1]


def line(streams: list[Stream], origins: list[str], limits: LadderLimits | None = None, share: float = 0.0) -> Line:
    registry = StreamRegistry(streams)
    queue, store, told = MemoryQueue(), MemoryVerdicts(), list[Evidence]()
    ids = (f"sample-{number}" for number in range(1_000))
    worker = ProbeWorker(
        registry,
        Fetcher(FetchPolicy(tuple(Origin.parse(origin) for origin in origins))),
        clock=lambda: 1_000.0,
        on_verdict=told.append,
        queue=queue,
        store=store,
        sampler=Sampler(registry, cpu_share=share, seed=1, new_id=ids.__next__),
        limits=limits,
    )
    return Line(registry, queue, store, worker, told)


def one(base: str, name: str, **more: object) -> Line:
    stream = Stream(name, {"cdn-a": f"{base}/{name}/master.m3u8"})
    return line([stream], [base], **more)  # type: ignore[arg-type]


def flagged(stream: str, *ranges: tuple[float, float], **more: object) -> Look:
    parts = tuple(TimeRange(start_s, end_s) for start_s, end_s in ranges)
    return Look(id="look", stream=stream, reason="flagged", queued_ts_s=0.0, ranges=parts, **more)  # type: ignore[arg-type]


def pixels_of(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decode what `evidence.png` writes: one IDAT, no filter."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    at = png.index(b"IDAT")
    length = int.from_bytes(png[at - 4 : at], "big")
    rows = np.frombuffer(zlib.decompress(png[at + 4 : at + 4 + length]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    return rows[:, 1:].reshape(height, width, 3)


def test_a_hole_in_one_rendition_is_confirmed_with_its_picture(base: str) -> None:
    """Four seconds without picture while the sound goes on: the players' freeze has its cause and its evidence."""
    evidence = one(base, "gap").take(
        flagged("gap", (6.0, 20.0), renditions=("270p",), complaints=("freeze_ms",), incident_id="i-1")
    )
    verdict = evidence.verdict
    assert verdict.verdict == "confirmed"
    assert verdict.incident_id == "i-1"
    assert verdict.step == "container"
    (defect,) = verdict.defects
    assert defect.detector == "gaps"
    assert defect.value == pytest.approx(4.0, abs=0.05)
    assert [defect.start_s, defect.end_s] == pytest.approx([11.0, 15.0], abs=0.1)
    assert (defect.rendition, defect.source) == ("270p", "encoder or packager")
    assert "while the sound goes on" in verdict.summary
    assert "180p is whole" in verdict.summary
    picture = pixels_of(evidence.frames[defect.frame])
    assert tuple(picture[0, 0]) == (220, 40, 40)
    assert tuple(picture[0, -1]) == (40, 170, 80)
    left, right = picture[8:-24, 8:480], picture[8:-24, 496:968]
    assert left.std() > 20
    assert np.abs(left.astype(int) - right.astype(int)).mean() > 10


def test_a_freeze_in_the_source_is_found_by_the_background_sample(base: str) -> None:
    """No player can see it; the sample finds it in all renditions and says honestly what it knows."""
    sampled = one(base, "freeze", limits=LadderLimits(window_s=60.0), share=1.0)
    verdict = sampled.worker.step()
    assert verdict is not None
    assert (verdict.reason, verdict.verdict, verdict.step) == ("sampled", "confirmed", "full decode")
    (defect,) = verdict.defects
    assert (defect.detector, defect.rendition, defect.source) == ("freeze", "all", "source")
    assert [defect.start_s, defect.end_s] == pytest.approx([9.0, 21.0], abs=0.5)
    assert "while the sound goes on" in defect.what
    assert "still shot looks the same" in defect.what
    assert sampled.store.frame(verdict.id, defect.frame) == sampled.told[0].frames[0]


def test_a_freeze_that_a_sampled_window_cuts_is_seen_whole(base: str) -> None:
    """Windows of 10 s cut a freeze of 12 s; the look widens until it has both ends."""
    sampled = one(base, "freeze", limits=LadderLimits(window_s=10.0), share=1.0)
    verdicts = [verdict for verdict in (sampled.worker.step() for _ in range(2)) if verdict is not None]
    assert verdicts[1].verdict == "confirmed"
    assert verdicts[1].defects[0].end_s - verdicts[1].defects[0].start_s == pytest.approx(12.0, abs=0.6)


def test_a_healthy_stream_is_silent(base: str) -> None:
    """Sampled or flagged: not reproduced, no defects, no pictures; flagged points at client or network."""
    sampled = one(base, "healthy", limits=LadderLimits(window_s=60.0), share=1.0)
    verdict = sampled.worker.step()
    assert verdict is not None
    assert (verdict.verdict, verdict.defects) == ("not reproduced", ())
    evidence = one(base, "healthy").take(flagged("healthy", (3.0, 24.0)))
    assert evidence.verdict.verdict == "not reproduced"
    assert evidence.verdict.left_out == ()
    assert "client or network" in evidence.verdict.summary
    assert evidence.frames == ()
    assert evidence.verdict.cpu_s > 0


def test_a_flagged_look_goes_before_the_sample(base: str) -> None:
    """Whatever the budget of the sample, what people and incidents ask for comes first."""
    both = one(base, "healthy", share=1.0)
    both.queue.enqueue(flagged("healthy", (0.0, 3.0)))
    verdicts = [both.worker.step(), both.worker.step()]
    assert [verdict.reason for verdict in verdicts if verdict is not None] == ["flagged", "sampled"]


def copy_of(media: Path, name: str, folder: Path) -> Path:
    shutil.copytree(media / name, folder / name)
    return folder


def test_one_cdn_that_answers_with_an_error_is_told_without_decoding(media: Path, base: str, tmp_path: Path) -> None:
    """A segment that one CDN has and the other has not: delivery, by bytes alone."""
    copy_of(media, "healthy", tmp_path)
    (tmp_path / "healthy" / "270p" / "00003.ts").unlink()
    with serve_folder(tmp_path) as broken:
        manifests = {"cdn-a": f"{broken}/healthy/master.m3u8", "cdn-b": f"{base}/healthy/master.m3u8"}
        evidence = line([Stream("healthy", manifests)], [base, broken]).take(flagged("healthy", (9.0, 12.0)))
    verdict = evidence.verdict
    assert (verdict.verdict, verdict.step, verdict.sandbox) == ("confirmed", "bytes", "not needed")
    (defect,) = verdict.defects
    assert (defect.detector, defect.source, defect.cdn, defect.value) == ("delivery", "delivery", "cdn-a", 404.0)


def test_one_cdn_of_three_with_other_bytes_is_told_without_decoding(media: Path, base: str, tmp_path: Path) -> None:
    """Two agree, one does not: its cache is damaged."""
    copy_of(media, "healthy", tmp_path)
    segment = tmp_path / "healthy" / "180p" / "00004.ts"
    data = bytearray(segment.read_bytes())
    data[5_000:5_400] = bytes(400)
    segment.write_bytes(data)
    with serve_folder(tmp_path) as odd, serve_folder(media) as other:
        bases = {"cdn-a": base, "cdn-b": odd, "cdn-c": other}
        manifests = {cdn: f"{url}/healthy/master.m3u8" for cdn, url in bases.items()}
        evidence = line([Stream("healthy", manifests)], list(bases.values())).take(flagged("healthy", (12.0, 15.0)))
    (defect,) = evidence.verdict.defects
    assert (defect.detector, defect.cdn, defect.source, defect.start_s) == ("bytes", "cdn-b", "delivery", 12.0)
    assert evidence.verdict.step == "bytes"


def test_damage_from_one_of_two_cdns_is_told_by_decoding_both(media: Path, base: str, tmp_path: Path) -> None:
    """Two CDNs that disagree leave open who is wrong; the decoder's word tells, and the blocks are marked."""
    copy_of(media, "healthy", tmp_path)
    segment = tmp_path / "healthy" / "270p" / "00002.ts"
    data = bytearray(segment.read_bytes())
    rng = np.random.default_rng(1)
    for packet in rng.choice(np.arange(60, len(data) // 188 - 20), 25, replace=False):
        data[188 * packet + 20 : 188 * packet + 180] = rng.bytes(160)
    segment.write_bytes(data)
    with serve_folder(tmp_path) as damaged:
        manifests = {"cdn-a": f"{base}/healthy/master.m3u8", "cdn-b": f"{damaged}/healthy/master.m3u8"}
        look = flagged("healthy", (6.0, 9.0), renditions=("270p",), cdns=("cdn-b",), detectors=("corruption",))
        evidence = line([Stream("healthy", manifests)], [base, damaged]).take(look)
    confirmed = [defect for defect in evidence.verdict.defects if defect.detector == "corruption"]
    assert confirmed
    assert {(defect.cdn, defect.source, defect.verdict) for defect in confirmed} == {("cdn-b", "delivery", "confirmed")}
    assert evidence.frames


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.m3u8").write_text(text, encoding="utf-8")


def test_hostile_manifests_are_refused_and_said(tmp_path: Path, media: Path) -> None:
    """Another origin, a file, itself, a master in a master, too much: no request goes out, the verdict says why."""
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=320x180\n"
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
    with serve_folder(media) as inside, serve_folder(tmp_path) as outside:
        write(
            tmp_path,
            other=master + f"{inside}/healthy/180p/index.m3u8\n",
            itself=master + "itself.m3u8\n",
            nested=master + "other.m3u8\n",
            huge="#EXTM3U\n" + "#" * 2**20,
            script=playlist.format("other.m3u8"),
            file=playlist.format("file:///etc/passwd"),
            inner=playlist.format(f"{inside}/healthy/180p/00000.ts"),
        )
        reasons = {
            "other": "not on the list",
            "itself": "names itself",
            "nested": "a master playlist where",
            "huge": "more than 1048576 bytes",
            "script": "no container that the probe decodes",
            "file": "only http and https",
            "inner": "not on the list",
        }
        for name, reason in reasons.items():
            stream = Stream(name, {"cdn": f"{outside}/{name}.m3u8"})
            verdict = line([stream], [outside]).take(flagged(name)).verdict
            assert verdict.verdict == "cannot tell", name
            assert any(reason in why for why in verdict.left_out), (name, verdict.left_out)
            assert verdict.defects == (), name


def test_a_child_that_dies_is_in_the_verdict_and_the_worker_lives(base: str, media: Path) -> None:
    """A child that its limit kills at once: cannot tell, and why; the next look is fine."""
    tight = LadderLimits(sandbox=SandboxLimits(wall_s=0.001))
    poor = one(base, "gap", limits=tight)
    verdict = poor.take(flagged("gap", (6.0, 20.0))).verdict
    assert verdict.verdict == "cannot tell"
    assert any("child was killed" in why for why in verdict.left_out)
    evidence = one(base, "gap").take(flagged("gap", (6.0, 20.0)))
    assert evidence.verdict.verdict == "confirmed"


def test_an_origin_that_is_away_is_not_a_defect_of_the_stream(media: Path) -> None:
    """No answer at all may be our own network: cannot tell."""
    with serve_folder(media) as gone:
        pass
    verdict = one(gone, "healthy").take(flagged("healthy")).verdict
    assert verdict.verdict == "cannot tell"
    assert [defect.verdict for defect in verdict.defects] == ["cannot tell"]


def test_a_stream_nobody_registered_is_answered(base: str) -> None:
    """The verdict says what to do about it."""
    verdict = one(base, "gap").take(flagged("unknown")).verdict
    assert verdict.verdict == "cannot tell"
    assert "not in the registry" in verdict.summary


def test_a_look_that_killed_its_workers_ends_in_a_verdict(base: str) -> None:
    """Given up after three claims, and told."""
    given_up = one(base, "gap")
    given_up.queue.enqueue(flagged("gap"))
    for attempt in range(3):
        assert given_up.queue.claim("dead", float(attempt), 0.5) is not None
    verdict = given_up.worker.step()
    assert verdict is not None
    assert "worker died 3 times" in verdict.summary
    assert given_up.queue.waiting() == []


def test_a_look_that_another_worker_took_over_is_not_finished_twice(base: str) -> None:
    """A claim that was lost in the middle stops the ladder before the dear steps."""
    lost = one(base, "freeze")
    lost.queue.enqueue(flagged("freeze", (0.0, 20.0)))
    lost.queue.renew = lambda *_: False  # type: ignore[method-assign]
    verdict = lost.worker.step()
    assert verdict is not None
    assert verdict.verdict == "cannot tell"
    assert verdict.step in ("bytes", "container")


def test_the_worker_runs_until_it_is_stopped(base: str) -> None:
    """The loop takes what is queued and ends when told, without a look being lost."""
    running = one(base, "healthy")
    stop, done = threading.Event(), threading.Event()
    running.worker._on_verdict = lambda _: done.set()
    thread = threading.Thread(target=running.worker.run, args=(stop,))
    thread.start()
    running.queue.enqueue(flagged("healthy", (0.0, 3.0)))
    assert done.wait(60)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert running.queue.waiting() == []


def test_one_url_or_file_can_be_probed_without_a_registry(base: str, media: Path) -> None:
    """A manifest by URL, a segment by URL, a file: each gives a verdict; a private URL must be allowed."""
    verdict = probe_url(f"{base}/freeze/master.m3u8", allow_private=True).verdict
    assert verdict.verdict == "confirmed"
    verdict = probe_url(f"{base}/healthy/180p/00001.ts", allow_private=True).verdict
    assert (verdict.verdict, verdict.bytes > 0) == ("not reproduced", True)
    evidence = probe_url(str(media / "gap" / "270p" / "00003.ts"))
    assert evidence.verdict.defects[0].detector == "gaps"
    assert evidence.frames
    refused = probe_url(f"{base}/healthy/master.m3u8").verdict
    assert refused.verdict == "cannot tell"
    assert "not a public address" in refused.left_out[0]
    with pytest.raises(InputError, match="neither MPEG-TS"):
        probe_url(str(media / "gap" / "master.m3u8"))
    with pytest.raises(InputError, match="No such file"):
        probe_url(str(media / "none.ts"))


def test_people_ask_over_http_and_see_the_picture(base: str) -> None:
    """Queue, wait, verdict, frame, judgement; what cannot be asked for is refused with the field and the reason."""
    asked = one(base, "gap")
    application = FastAPI()
    ids = (f"h-{number}" for number in range(1, 9))
    routes = router(asked.queue, asked.store, asked.registry, clock=lambda: 5.0, new_id=ids.__next__)
    application.include_router(routes)
    client: httpx.Client = TestClient(application)
    answer = client.post("/v1/probes", json={"stream": "gap", "ranges": [{"start_s": 6, "end_s": 20}]})
    assert (answer.status_code, answer.json()) == (202, {"id": "h-1", "state": "waiting"})
    assert client.get("/v1/probes/h-1").json()["state"] == "waiting"
    assert client.get("/v1/probes").json() == {"verdicts": [], "waiting": 1}
    assert asked.worker.step() is not None
    found = client.get("/v1/probes/h-1").json()
    assert found["state"] == "done"
    assert found["verdict"]["defects"][0]["detector"] == "gaps"
    picture = client.get("/v1/probes/h-1/frame.png", params={"number": found["verdict"]["defects"][0]["frame"]})
    assert picture.headers["content-type"] == "image/png"
    assert pixels_of(picture.content).size > 0
    assert client.post("/v1/probes/h-1/judged", json={"judged": "wrong"}).status_code == 200
    assert client.get("/v1/probes", params={"stream": "gap"}).json()["verdicts"][0]["judged"] == "wrong"
    for path in ("/v1/probes/none", "/v1/probes/none/frame.png", "/v1/probes/h-1/frame.png?number=9"):
        assert client.get(path).status_code == 404
    bad = [{"stream": "gap", "url": "http://x"}, {"stream": "gap", "detectors": ["x"]}, {}]
    bad.append({"stream": "gap", "ranges": [{"start_s": 5, "end_s": 1}]})
    assert [client.post("/v1/probes", json=body).status_code for body in bad] == [422] * 4
    assert client.post("/v1/probes", json={"stream": "other"}).status_code == 404


def test_the_same_spec_gives_the_same_bytes(media: Path, tmp_path: Path) -> None:
    """The generator is deterministic by seed, so that a demo's truth can be compared run by run."""
    make_stream(tmp_path, StreamSpec("gap", seed=5, seconds=SECONDS, defects=(Gap(11.0, 4.0),)))
    for path in sorted((media / "gap").rglob("*.*")):
        assert (tmp_path / "gap" / path.relative_to(media / "gap")).read_bytes() == path.read_bytes()


def test_a_defect_outside_the_stream_cannot_be_made() -> None:
    """The message names the stream and the defect."""
    for spec in ({"defects": (Gap(25.0, 4.0),)}, {"defects": (Gap(1.0, 2.0, "720p"),)}, {"seconds": 0}):
        with pytest.raises(InputError, match="making stream 'x'"):
            StreamSpec("x", **{"seconds": 27, **spec})  # type: ignore[arg-type]


def test_verdicts_survive_their_own_encoding(base: str) -> None:
    """What is stored as JSON is what was said."""
    verdict = one(base, "gap").take(flagged("gap", (6.0, 20.0))).verdict
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
