"""Run inside of the sandbox's process, by itself: `python -I -S -B containment.py`. It imports nothing of ours.

It reads a program from standard input, gives up everything a program of a stranger could do harm with, runs it, and
writes what came of it to the file descriptor it was told. What it gives up, on Linux, by a seccomp filter that no
process can take off again: opening files for writing and every other change of the file system, processes of its own,
signals to others, sockets, mounts, other namespaces. Limits on processor time, memory and file size hold everywhere.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any

EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_EQUAL, JUMP_SET, JUMP_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; of an argument the low half (little endian)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY
CLONE_THREAD = 0x10000
# machine -> (AUDIT_ARCH, numbers of the calls looked into, numbers of those refused), from Linux's own headers,
# asm/unistd_64.h and asm-generic/unistd.h. Refused, line by line:
#   changes of files: creat truncate rename mkdir rmdir link unlink symlink chmod chown mknod utime fallocate xattr
#   processes: fork vfork execve kill tkill tgkill sigqueue pidfd ptrace process_vm     network: socket connect bind ...
#   namespaces and mounts, memory beside the limit, io_uring, bpf, keys     the kernel itself: modules, clock, limits
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"open": 2, "openat": 257, "clone": 56},
        "85 76 77 82 264 316 83 258 84 86 265 87 263 88 266 90 91 268 452 92 93 94 260 133 259 132 235 261 280 285 "
        "188 189 190 197 198 199 "
        "57 58 59 322 62 200 234 129 297 424 434 438 101 310 311 "
        "41 42 49 50 43 288 44 46 307 "
        "165 166 155 161 308 272 428 429 430 432 442 319 29 30 68 64 240 425 426 427 321 298 323 248 249 250 "
        "175 176 313 246 169 167 170 171 164 227 159 172 173 163 179 160 302",
    ),
    "aarch64": (
        0xC00000B7,
        {"openat": 56, "clone": 220},
        "45 46 38 276 34 37 35 36 52 53 452 54 55 33 88 47 "
        "5 6 7 14 15 16 "
        "221 281 129 130 131 138 240 424 434 438 117 270 271 "
        "198 203 200 201 202 242 206 211 269 "
        "40 39 41 51 268 97 428 429 430 432 442 279 194 196 186 190 180 425 426 427 280 241 282 217 218 219 "
        "105 106 273 104 142 224 161 162 170 112 171 89 164 261",
    ),
}
UNKNOWN_TO_US = (435, 437)  # clone3 and openat2, whose arguments a filter cannot see: as on a kernel without them


def instruction(code: int, jump_true: int, jump_false: int, k: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def filter_for(machine: str) -> list[bytes]:
    arch, looked_into, refused = MACHINES[machine]
    program = [
        instruction(LOAD, 0, 0, ARCH),
        instruction(JUMP_EQUAL, 1, 0, arch),
        instruction(RETURN, 0, 0, KILL),
        instruction(LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":  # the x32 calls have numbers of their own
        program += [instruction(JUMP_LEAST, 0, 1, 0x40000000), instruction(RETURN, 0, 0, KILL)]
    for number in UNKNOWN_TO_US:
        program += [instruction(JUMP_EQUAL, 0, 1, number), instruction(RETURN, 0, 0, ERRNO | ENOSYS)]
    for number in map(int, refused.split()):
        program += [instruction(JUMP_EQUAL, 0, 1, number), instruction(RETURN, 0, 0, ERRNO | EPERM)]
    for name, number in looked_into.items():
        argument = {"open": 1, "openat": 2, "clone": 0}[name]
        bits, if_set, if_not = (
            (CLONE_THREAD, ALLOW, ERRNO | EPERM) if name == "clone" else (WRITES, ERRNO | EPERM, ALLOW)
        )
        program += [
            instruction(JUMP_EQUAL, 0, 4, number),
            instruction(LOAD, 0, 0, ARGUMENTS + 8 * argument),
            instruction(JUMP_SET, 0, 1, bits),
            instruction(RETURN, 0, 0, if_set),
            instruction(RETURN, 0, 0, if_not),
        ]
    return [*program, instruction(RETURN, 0, 0, ALLOW)]


def give_up(limits: dict[str, int]) -> None:
    """Everything but computing. What cannot be given up on this system is for the caller to find out by trying."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: go when the one who started us goes
        libc.unshare(0x10000000 | 0x40000000)  # CLONE_NEWUSER | CLONE_NEWNET, where it is permitted
    for name, value in (
        ("RLIMIT_CPU", limits["cpu"]),
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_FSIZE", limits["file"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ):
        limit(name, value)
    if sys.platform == "linux" and platform.machine() in MACHINES:
        program = b"".join(filter_for(platform.machine()))
        code = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        if libc.prctl(22, 2, ctypes.c_char_p(described), 0, 0) == 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            return
    # Without a filter the limit is the next best, though it stops threads as well and does not bind root.
    limit("RLIMIT_NPROC", 0)


def limit(name: str, value: int) -> None:
    if hasattr(resource, name):
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def words_of(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "MemoryError"
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:  # a stranger's exception may raise when it is shown
        return type(error).__name__


def run(asked: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__solution__", "__builtins__": __builtins__}
    passed, failed = 0, ""
    try:
        exec(compile(asked["code"], "<response>", "exec"), names)
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a stranger are failures like others
        return {"passed": 0, "failed": "the code itself raises " + words_of(error)}
    for number, test in enumerate(asked["tests"], 1):
        try:
            exec(compile(test, f"<test {number}>", "exec"), names)
            passed += 1
        except BaseException as error:  # likewise
            failed = failed or f"test {number}: {words_of(error)}"
    return {"passed": passed, "failed": failed}


def main() -> None:
    told, write = int(sys.argv[1]), os.write
    asked = json.loads(sys.stdin.buffer.read())
    nonce, leave, dumps = asked.pop("nonce"), os._exit, json.dumps
    give_up(asked.pop("limits"))
    result = run(asked)
    write(told, dumps({"nonce": nonce, **result}).encode())
    leave(0)  # a stranger's exit handlers do not run


if __name__ == "__main__":
    main()
