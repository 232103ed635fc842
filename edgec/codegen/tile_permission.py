"""Asking Linux for the tiles of AMX.

Their state is large, so Linux gives it only to processes that ask for it: otherwise the
first instruction that touches a tile ends the process. What is granted holds for all
threads of the process, and for those that it forks.

Source: Linux, Documentation/arch/x86/xstate.rst.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform

SYS_ARCH_PRCTL = 158
"""Number of the system call on x86-64."""
ARCH_REQ_XCOMP_PERM = 0x1023
"""Its function that asks for a part of the state of a processor."""
XFEATURE_XTILEDATA = 18
"""The part that holds the tiles."""

REASONS = {
    errno.EINVAL: "this Linux is older than 5.16, which knows of tiles",
    errno.EOPNOTSUPP: "this Linux was built or started without support for tiles",
    errno.ENOSPC: (
        "a signal stack of this process is too small for them: start the program "
        "without it, or make it larger than sysconf(_SC_MINSIGSTKSZ)"
    ),
    errno.EPERM: (
        "the sandbox or container of this process forbids it: allow arch_prctl in its "
        "seccomp profile"
    ),
}
"""What the numbers of errors mean here."""


@functools.cache
def why_no_tiles() -> str | None:
    """Ask, once; None if the tiles may be used, else why not."""
    if platform.system() != "Linux":
        return f"edgec knows how to ask for them on Linux only, not {platform.system()}"
    number = arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    if number == 0:
        return None
    name = errno.errorcode.get(number, str(number))
    return f"{REASONS.get(number, os.strerror(number))} (arch_prctl: {name})"


def arch_prctl(function: int, argument: int) -> int:
    """The system call; 0, or the number of the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    arguments = (ctypes.c_long(number) for number in (function, argument))
    result = libc.syscall(ctypes.c_long(SYS_ARCH_PRCTL), *arguments)
    return 0 if result == 0 else ctypes.get_errno()
