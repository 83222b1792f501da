# SPDX-License-Identifier: Apache-2.0
"""Runs a command under the restrictions of a systemd unit, where PID 1 is not systemd.

    python -m testbed.hardened UNIT DIRECTORY -- COMMAND…

What systemd does with the kernel's means is done here with the same ones, from the unit's own
lines: system calls and address families (seccomp, with systemd's own list of calls), no writable
memory that can be executed, no capabilities, a file system that can't be written to but for a /tmp
of its own, a /proc without other processes, no new privileges, limits. The user stays: root,
without capabilities. DIRECTORY is the working directory, and stays visible.

Only root may do this, on Linux 6.3 or newer, where namespaces are permitted; the exit status is
NOT_PERMITTED elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

NOT_PERMITTED = 77  # exit status: this can't be done here
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
MDWE_REFUSE_EXEC_GAIN = 1
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO = 0x7FFF0000, 0x00050000
SCMP_CMP_EQ = 4
ALL_FAMILIES = 64  # more than there are
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}

_libc = ctypes.CDLL(None, use_errno=True)


def unit_values(unit: Path) -> dict[str, list[str]]:
    """A unit's directives: name → values in their order."""
    values: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.M):
        values.setdefault(name, []).append(value)
    return values


def permitted_calls(filters: Iterable[str]) -> set[str]:
    """The system calls that SystemCallFilter= lets through, as systemd itself expands its sets."""
    permitted: set[str] = set()
    for value in filters:
        names = {call for word in value.lstrip("~").split() for call in _expanded(word)}
        permitted = permitted - names if value.startswith("~") else permitted | names
    return permitted


def _expanded(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.strip() for line in listed.splitlines()[1:])
    return {each for line in lines if line and line[0] != "#" for each in _expanded(line)}


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*map(ctypes.c_ulong, arguments)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _restrict_files(visible: Path) -> None:
    """ProtectSystem=strict, PrivateTmp=, ProtectProc=, ProcSubset=.

    :param visible: a directory that stays visible, if it is in /tmp.
    """
    _call("unshare", CLONE_NEWNS | CLONE_NEWIPC)
    _mount("--make-rprivate", "/")
    inside = {path.resolve() for path in (visible, Path(sys.prefix), Path.cwd())}
    kept = [path for path in inside if path.is_relative_to("/tmp")]
    _mount("-t", "tmpfs", "aside", "/mnt")
    for number, path in enumerate(kept):
        Path(f"/mnt/{number}").mkdir()
        _mount("--bind", str(path), f"/mnt/{number}")
    _mount("-t", "tmpfs", "-o", "mode=1777", "private", "/tmp")
    for number, path in enumerate(kept):
        path.mkdir(parents=True, exist_ok=True)
        _mount("--move", f"/mnt/{number}", str(path))
    subprocess.run(["umount", "/mnt"], check=True)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in mounted:
        if point != "/tmp" and not point.startswith(("/dev", "/proc", "/sys")):
            _mount("-o", "remount,bind,ro", point)
    _mount("-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", "/proc")


def _restrict_calls(permitted: set[str], families: set[str], error: int) -> None:
    """SystemCallFilter=, SystemCallErrorNumber=, RestrictAddressFamilies=."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_init.argtypes = [ctypes.c_uint32]
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ERRNO | error))
    for name in sorted(permitted - {"socket"}):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # one of this architecture
            assert seccomp.seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0) == 0, name
    socket_call = seccomp.seccomp_syscall_resolve_name(b"socket")

    class Comparison(ctypes.Structure):
        _fields_ = (
            *(("argument", ctypes.c_uint), ("operator", ctypes.c_int)),
            *(("first", ctypes.c_uint64), ("second", ctypes.c_uint64)),
        )

    seccomp.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(Comparison),
    ]
    numbers = {FAMILIES[family] for family in families}
    for number in range(ALL_FAMILIES):
        action = SCMP_ACT_ALLOW if number in numbers else SCMP_ACT_ERRNO | errno.EAFNOSUPPORT
        equal = Comparison(0, SCMP_CMP_EQ, number, 0)
        rule = (context, action, socket_call, 1, ctypes.byref(equal))
        assert seccomp.seccomp_rule_add_array(*rule) == 0, number
    assert seccomp.seccomp_load(context) == 0, "the filter is loaded"


def run(unit: Path, visible: Path, command: list[str]) -> NoReturn:
    """Become the command, under the unit's restrictions."""
    values = unit_values(unit)
    permitted = permitted_calls(values["SystemCallFilter"])
    families = set(values["RestrictAddressFamilies"][0].split())
    error = getattr(errno, values["SystemCallErrorNumber"][0])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(int(values["LimitNOFILE"][0]), hard)  # this machine may permit less
    capabilities = int(LAST_CAPABILITY.read_text()) + 1
    try:
        _restrict_files(visible)
        if values["MemoryDenyWriteExecute"] == ["yes"]:
            _call("prctl", PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)  # from Linux 6.3 on
    except (OSError, subprocess.CalledProcessError) as reason:
        print(f"not permitted here: {reason}", file=sys.stderr)
        sys.exit(NOT_PERMITTED)
    os.chdir(visible)
    os.umask(int(values["UMask"][0], 8))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(capabilities):
        _call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    _restrict_calls(permitted, families, error)
    os.execv(command[0], command)


if __name__ == "__main__":
    _, unit_path, visible_path, _, *rest = sys.argv
    run(Path(unit_path), Path(visible_path), rest)
