"""Locks the calling process in for good: no new privileges, and a seccomp filter that knows few system calls.

The filter is an allow-list of what a decoder that has warmed up needs: read, write, memory, locks, clocks, exit.
Sockets, programs and tracing kill the process; anything else (opening a file, starting a thread) fails with EPERM, and
so does mapping memory as executable. It cannot be taken off again (source: Linux, userspace-api/seccomp_filter).

Written with ctypes and classic BPF because no maintained wheel does it. Only Linux on x86-64 and AArch64 is known;
elsewhere, and where the kernel refuses, `lock_in` says so in words, which end up in the verdict.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_RET_KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_LD_ABS_W = 0x20
_JEQ_K = 0x15
_JSET_K = 0x45
_RET_K = 0x06
_AT_NUMBER, _AT_ARCH, _AT_PROT = 0, 4, 32
_PROT_EXEC = 4
_X32_BIT = 0x40000000

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}

_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, None),
    "ppoll": (271, 73),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "tgkill": (234, 131),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
}
_NOT_EXECUTABLE = {"mmap": (9, 222), "mprotect": (10, 226)}
_DEADLY = {
    "socket": (41, 198),
    "connect": (42, 203),
    "sendto": (44, 206),
    "bind": (49, 200),
    "socketpair": (53, 199),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "ptrace": (101, 117),
    "execveat": (322, 281),
    "io_uring_setup": (425, 425),
    "process_vm_writev": (311, 271),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _numbers(table: dict[str, tuple[int | None, int | None]], machine: str) -> list[int]:
    column = _COLUMN[machine]
    return [number for pair in table.values() if (number := pair[column]) is not None]


def program_for(machine: str) -> bytes:
    """The filter's BPF instructions for "x86_64" or "aarch64", 8 bytes each."""
    refuse = _RET_ERRNO | errno.EPERM
    steps = [
        _step(_LD_ABS_W, _AT_ARCH),
        _step(_JEQ_K, _ARCH[machine], 1, 0),
        _step(_RET_K, _RET_KILL_PROCESS),
        _step(_LD_ABS_W, _AT_NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_JSET_K, _X32_BIT, 0, 1), _step(_RET_K, _RET_KILL_PROCESS)]
    for number in _numbers(_ALLOWED, machine):
        steps += [_step(_JEQ_K, number, 0, 1), _step(_RET_K, _RET_ALLOW)]
    for number in _numbers(dict(_NOT_EXECUTABLE), machine):
        steps += [
            _step(_JEQ_K, number, 0, 4),
            _step(_LD_ABS_W, _AT_PROT),
            _step(_JSET_K, _PROT_EXEC, 0, 1),
            _step(_RET_K, refuse),
            _step(_RET_K, _RET_ALLOW),
        ]
    for number in _numbers(dict(_DEADLY), machine):
        steps += [_step(_JEQ_K, number, 0, 1), _step(_RET_K, _RET_KILL_PROCESS)]
    return b"".join([*steps, _step(_RET_K, refuse)])


def lock_in() -> str:
    """Lock the calling process in; returns "on", or in words why the kernel or machine would not have it."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCH:
        return f"no seccomp filter: none is written for {sys.platform} on {machine}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"no_new_privs refused: {os.strerror(ctypes.get_errno())}"
    instructions = program_for(machine)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        return f"seccomp refused: {os.strerror(ctypes.get_errno())}"
    return "on"
