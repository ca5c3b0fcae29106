"""The gate in front of every URL that the probe reads, against origins that mean harm."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server_probe.fetch import Fetcher, FetchPolicy, FetchSession, Origin, OriginError, RefusedError
from tocsin.model.errors import ConfigError

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def origin(answers: dict[str, Answer]) -> Iterator[tuple[str, list[str]]]:
    """A server of 127.0.0.1 with one function a path; gives its base URL and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answers.get(self.path, not_found)(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def gives(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(location: str) -> Answer:
    return gives(b"", 302, Location=location)


def session(policy: FetchPolicy, clock: Callable[[], float] = lambda: 0.0, **names: list[str]) -> FetchSession:
    """A session with a resolver that knows `names` (dots written as underscores) and counts nothing else."""
    known = {name.replace("_", "."): found for name, found in names.items()}
    return Fetcher(policy, clock=clock, resolver=lambda host, _: known[host]).session()


def allow(base: str, **caps: float) -> FetchPolicy:
    return FetchPolicy((Origin.parse(base),), **caps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://cdn.example/a",
        "http://cdn.example.evil/a",
        "http://cdn.example:8080/a",
        "https://user@cdn.example/a",
        "http://cdn.example/a",
        "//cdn.example/a",
        "http://[::1]/a",
        "http://2130706433/a",
        "data:text/plain,a",
        "https://cdn.example:99999/a",
        "https://[bad/a",
        "",
    ],
)
def test_what_is_not_on_the_list_is_refused_before_any_connection(url: str) -> None:
    """Other schemes, hosts, ports, users and lookalikes are refused by the URL alone."""
    looked_up: list[str] = []

    def resolver(host: str, _: int) -> list[str]:
        looked_up.append(host)
        return ["203.0.113.1"]

    fetcher = Fetcher(FetchPolicy((Origin.parse("https://cdn.example"),)), resolver=resolver)
    with fetcher.session() as reading, pytest.raises(RefusedError):
        reading.manifest(url)
    assert looked_up == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_a_listed_name_with_a_private_address_is_refused(address: str) -> None:
    """A name on the list that points inside is refused, in every disguise, also beside a public address."""
    policy = allow("http://cdn.example")
    for found in ([address], ["93.184.216.34", address]):
        with session(policy, cdn_example=found) as reading, pytest.raises(RefusedError, match="not a public address"):
            reading.manifest("http://cdn.example/a")


def test_a_private_origin_is_read_only_where_it_is_listed_as_private() -> None:
    """A literal address is listed by itself; a name needs the mark; link-local never."""
    with origin({"/a": gives(b"body")}) as (base, _):
        port = int(base.rpartition(":")[2])
        with session(allow(base)) as reading:
            assert reading.manifest(base + "/a").body == b"body"
        inside = FetchPolicy((Origin("http", "inside.example", port, private=True),))
        with session(inside, inside_example=["127.0.0.1"]) as reading:
            assert reading.manifest(f"http://inside.example:{port}/a").body == b"body"
        with session(inside, inside_example=["169.254.169.254"]) as reading, pytest.raises(RefusedError):
            reading.manifest(f"http://inside.example:{port}/a")


def test_a_name_is_resolved_once_a_look() -> None:
    """A name that changes its address between two reads is still read at the first: nothing to rebind."""
    with origin({"/a": gives(b"body", Connection="close")}) as (base, asked):
        port = int(base.rpartition(":")[2])
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        policy = FetchPolicy((Origin("http", "inside.example", port, private=True),))
        with Fetcher(policy, resolver=lambda _host, _port: next(answers)).session() as reading:
            for _ in range(3):
                reading.manifest(f"http://inside.example:{port}/a")
    assert asked == ["/a"] * 3


def test_redirects_pass_the_gate_again() -> None:
    """To another port, a private address, a file: refused, and the target is never asked."""
    with origin({"/secret": gives(b"inside")}) as (inside, inside_asked):
        answers = {
            "/port": redirects(inside + "/secret"),
            "/file": redirects("file:///etc/passwd"),
            "/loop": redirects("/loop"),
            "/none": redirects("http://[::1"),
            "/ok": redirects("/body"),
            "/body": gives(b"body"),
        }
        with origin(answers) as (base, _), session(allow(base)) as reading:
            with pytest.raises(RefusedError, match="not on the list"):
                reading.manifest(base + "/port")
            with pytest.raises(RefusedError, match="only http and https"):
                reading.manifest(base + "/file")
            with pytest.raises(RefusedError, match="more than 3 redirects"):
                reading.manifest(base + "/loop")
            with pytest.raises(OriginError, match="Invalid"):
                reading.manifest(base + "/none")
            fetched = reading.manifest(base + "/ok")
            assert (fetched.url, fetched.body) == (base + "/body", b"body")
    assert inside_asked == []


def test_bodies_are_cut_at_their_cap() -> None:
    """A manifest, a segment and a look each have a cap; an endless body ends there."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(4096))
        except OSError:
            return

    answers = {"/endless": endless, "/a": gives(bytes(60_000))}
    with origin(answers) as (base, _):
        with session(allow(base, manifest_bytes_max=10_000)) as reading:
            with pytest.raises(RefusedError, match="more than 10000 bytes"):
                reading.manifest(base + "/endless")
            assert reading.bytes_read < 1_000_000
        with session(allow(base, look_bytes_max=100_000)) as reading:
            reading.segment(base + "/a")
            with pytest.raises(RefusedError, match="100000 bytes are used up"):
                reading.segment(base + "/a")
        with session(allow(base, look_requests_max=2)) as reading:
            reading.segment(base + "/a")
            reading.segment(base + "/a")
            with pytest.raises(RefusedError, match="2 requests"):
                reading.segment(base + "/a")


def test_a_body_that_drips_ends_at_the_deadline() -> None:
    """A byte at a time does not renew the time a request has: here each look at the clock costs a second."""

    def drips(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x")
                handler.wfile.flush()
        except OSError:
            return

    ticks = itertools.count()
    with (
        origin({"/a": drips}) as (base, _),
        session(allow(base), clock=lambda: float(next(ticks))) as reading,
        pytest.raises(OriginError, match="ReadTimeout"),
    ):
        reading.segment(base + "/a")
    assert next(ticks) < 40


def test_a_look_has_an_end() -> None:
    """After its seconds are used up nothing more is asked for."""
    now = [0.0]
    with origin({"/a": gives(b"body")}) as (base, asked), session(allow(base), clock=lambda: now[0]) as reading:
        reading.manifest(base + "/a")
        now[0] = 60.0
        with pytest.raises(RefusedError, match="60 s are used up"):
            reading.manifest(base + "/a")
    assert asked == ["/a"]


def test_a_compressed_body_is_refused() -> None:
    """None was asked for, so a bomb is not even opened."""
    with (
        origin({"/a": gives(b"\x1f\x8b", Content_Encoding="gzip")}) as (base, _),
        session(allow(base)) as reading,
        pytest.raises(RefusedError, match="'gzip' was not asked for"),
    ):
        reading.manifest(base + "/a")


def test_a_range_is_asked_for_and_must_be_answered_as_one() -> None:
    """A server that ignores the range would send the whole film: said, not taken."""
    ranges: list[str | None] = []

    def partial(handler: BaseHTTPRequestHandler) -> None:
        ranges.append(handler.headers["Range"])
        gives(b"12345", 206)(handler)

    with origin({"/a": partial, "/b": gives(b"whole")}) as (base, _), session(allow(base)) as reading:
        assert reading.segment(base + "/a", (100, 5)).body == b"12345"
        with pytest.raises(OriginError, match="HTTP 200"):
            reading.segment(base + "/b", (100, 5))
    assert ranges == ["bytes=100-104"]


def test_an_error_of_the_origin_has_its_status_and_no_secrets() -> None:
    """The message shows neither query nor user, which may be tokens."""
    with (
        origin({}) as (base, _),
        session(allow(base)) as reading,
        pytest.raises(OriginError, match="HTTP 404") as error,
    ):
        reading.manifest(base + "/a?token=hunter2")
    assert error.value.status == 404
    assert "hunter2" not in str(error.value)


def test_an_origin_is_scheme_host_and_port_only() -> None:
    """A path, a user or another scheme in the list is a mistake of the configuration."""
    for text in ("http://h/path", "http://u@h", "file:///x", "h", "http://"):
        with pytest.raises(ConfigError):
            Origin.parse(text)
    assert Origin.parse("https://CDN.example") == Origin("https", "cdn.example", 443)
    assert Origin.parse("http://127.0.0.1:8080") == Origin("http", "127.0.0.1", 8080, private=True)
