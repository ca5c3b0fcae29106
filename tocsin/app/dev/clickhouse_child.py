"""Runs as its own process: ClickHouse's library as a server. Arguments: library, folder, HTTP port, TCP port.

The library is not part of the environment's chdb (whose newest build refuses `--listen_host`), and its signal handlers
and 500 MB belong in a process of their own. The last statement of the query sleeps for ever in 3 s steps, which keeps
clickhouse-local, and so the listeners, alive until a signal ends the process.
"""

from __future__ import annotations

import ctypes
import sys

_STAY_UP = (
    "SELECT sleepEachRow(3) FROM system.numbers "
    "SETTINGS function_sleep_max_microseconds_per_block = 0, max_block_size = 1 FORMAT Null"
)


def serve(library: str, folder: str, http_port: str, tcp_port: str) -> str:
    """Serve until a signal; returns ClickHouse's error text if it could not start."""
    lib = ctypes.CDLL(library)
    lib.chdb_query_cmdline.restype = ctypes.c_void_p
    lib.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    lib.chdb_result_error.restype = ctypes.c_char_p
    lib.chdb_result_error.argtypes = [ctypes.c_void_p]
    arguments = [
        "clickhouse",
        f"--config-file={folder}/config.xml",
        f"--path={folder}/data",
        "--listen_host=127.0.0.1",
        f"--http_port={http_port}",
        f"--tcp_port={tcp_port}",
        f"--query=SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; {_STAY_UP}",
    ]
    encoded = [argument.encode() for argument in arguments]
    result = lib.chdb_query_cmdline(len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
    error: bytes | None = lib.chdb_result_error(result) if result else b"no result"
    return (error or b"the query ended").decode(errors="replace")


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:5]))
