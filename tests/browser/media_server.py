"""What a browser needs to play: the page, the libraries, the media, and a way to hold one part of the media back.

The player stalls because the server does not answer, as in life: a request for the held part waits until the page asks
for the release, which it does once its stall has lasted long enough.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
    ".mp4": "video/mp4",
}
HOLD_S_MAX = 60.0
CHUNK_BYTES = 16_384


@dataclass
class MediaServer:
    """Files by URL path, and what is held: paths that match `held_path`, or a file's bytes from `held_from_byte` on."""

    files: dict[str, Path]
    held_path: str = ""
    held_from_byte: int = 1 << 62
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def path_of(self, url_path: str) -> Path | None:
        """The file behind a URL path: an exact entry, or a file in an entry that is a folder."""
        for prefix, target in self.files.items():
            if url_path == prefix:
                return target
            if target.is_dir() and url_path.startswith(prefix + "/"):
                inside = (target / url_path[len(prefix) + 1 :]).resolve()
                if inside.is_relative_to(target.resolve()) and inside.is_file():
                    return inside
        return None

    def holds(self, url_path: str) -> bool:
        """Whether answers to this path are held back as long as nobody has released them."""
        return bool(self.held_path and re.search(self.held_path, url_path))


def _handler(server: MediaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """GET files (with ranges), POST the release."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = server.path_of(path)
            if file is None:
                self.answer(404)
                return
            data = file.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            end = min(int(wanted[2]) if wanted and wanted[2] else len(data) - 1, len(data) - 1)
            held = server.holds(path)
            if held and server.held_from_byte >= len(data):
                server.released.wait(HOLD_S_MAX)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Type", MEDIA_TYPES.get(file.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(end - start + 1))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Cache-Control", "no-store")
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            self.end_headers()
            try:
                for at in range(start, end + 1, CHUNK_BYTES):
                    if held and at + CHUNK_BYTES > server.held_from_byte:
                        server.released.wait(HOLD_S_MAX)
                    self.wfile.write(data[at : min(at + CHUNK_BYTES, end + 1)])
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the player gave this request up, as players do

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != "/release":
                self.answer(404)
                return
            server.released.set()
            self.answer(204)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: pytest shows what matters."""

    return Handler


@contextmanager
def serve(server: MediaServer) -> Iterator[MediaServer]:
    """Serve on a free port of 127.0.0.1 while the block runs; `server.url` is set."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


def remux_mp4(rendition: Path, out: Path) -> Path:
    """The segments of an HLS rendition as one MP4 whose index comes first; packets are copied, not encoded again."""
    with av.open(str(rendition)) as source, av.open(str(out), "w", options={"movflags": "+faststart"}) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return out
