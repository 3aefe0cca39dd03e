"""Run a command under what the unit forbids: system calls, address families, writable code.

    python -m tests.deploy.confined UNIT COMMAND...

systemd sets these limits in the kernel, for itself and every process that it starts, and they need
no privilege. Here they are set the same way, so that it shows what they would break.
"""

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 22, 38, 65
_SECCOMP_MODE_FILTER, _PR_MDWE_REFUSE_EXEC_GAIN = 2, 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_AUDIT_ARCH_X86_64 = 0xC000003E
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENT_AT = 0, 4, 16
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


def settings(unit: Path, name: str) -> list[str]:
    """Return the values of a setting of a unit."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def members(name: str) -> set[str]:
    """Return the system calls of a name; ``@groups`` as systemd knows them."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.findall(r"^ +([@\w-]+)$", listing, re.MULTILINE)
    return set().union(*(members(part) for part in parts))


def allowed(unit: Path) -> set[str]:
    """Return the system calls that a unit leaves: its lines add, or with ``~`` take away."""
    left: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        named: set[str] = set().union(*(members(name) for name in line.removeprefix("~").split()))
        left = left - named if line.startswith("~") else left | named
    return left


def program(unit: Path) -> bytes:
    """Return the filter as the kernel takes it; what it refuses fails with EPERM."""
    numbers = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", HEADER.read_text()))
    calls = sorted(int(numbers[name]) for name in allowed(unit) if name in numbers)
    families = [_FAMILIES[name] for name in settings(unit, "RestrictAddressFamilies")[0].split()]

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    def each(values: list[int]) -> list[bytes]:
        return [
            part
            for value in values
            for part in (step(_JUMP_IF_EQUAL, value, 0, 1), step(_RETURN, _ALLOW))
        ]

    socket = [
        step(_LOAD, _ARGUMENT_AT),
        *each(families),
        step(_RETURN, _REFUSE),
    ]
    steps = [
        step(_LOAD, _ARCHITECTURE_AT),
        step(_JUMP_IF_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
        step(_RETURN, _REFUSE),
        step(_LOAD, _NUMBER_AT),
        step(_JUMP_IF_EQUAL, int(numbers["socket"]), 0, len(socket)),
        *socket,
        *each(calls),
        step(_RETURN, _REFUSE),
    ]
    return b"".join(steps)


def confine(unit: Path) -> None:
    """Set the limits for this process and those that it starts."""
    code = program(unit)
    steps = ctypes.create_string_buffer(code, len(code))
    whole = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, whole, 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            # Kernels before 6.3 have no switch for writable code that a process can set itself.
            if arguments[0] != _PR_SET_MDWE or number != errno.EINVAL:
                raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
