"""The clock of this computer, measured.

What the system says is of no use: a virtual machine shows its host's nominal frequency,
and processors run faster than that when few cores are busy. A chain of instructions
that each need the result of the one before and take one cycle on every processor is a
clock.
"""

from __future__ import annotations

import ctypes
import functools
import time

from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object, load_object
from edgec.target import Target

PAIRS = 32
"""Additions and exclusive ors in the loop, in turns, so that LLVM cannot merge two."""
TRIPS = 20_000
"""Of the loop: about a third of a millisecond."""
ROUNDS = 12
"""The fastest counts: the others were interrupted, or the clock was still rising."""


def clock_text() -> str:
    """LLVM IR of a chain of `2 * PAIRS` instructions of one cycle, `trips` times."""
    lines: list[str] = []
    value = "%x"
    for number in range(PAIRS):
        lines.append(f"  %a{number} = add i64 {value}, %p")
        lines.append(f"  %b{number} = xor i64 %a{number}, %q")
        value = f"%b{number}"
    chain = "\n".join(lines)
    return f"""
define i64 @edgec_clock(i64 %trips, i64 %p, i64 %q) {{
entry:
  br label %loop
loop:
  %x = phi i64 [ %p, %entry ], [ {value}, %loop ]
  %n = phi i64 [ %trips, %entry ], [ %left, %loop ]
{chain}
  %left = sub i64 %n, 1
  %done = icmp eq i64 %left, 0
  br i1 %done, label %end, label %loop
end:
  ret i64 {value}
}}
"""


@functools.cache
def measured_hertz() -> float:
    """Cycles per second of one core under load; measured once per process."""
    target = Target.native(host_features())
    loaded = load_object(compile_object(clock_text(), target), target, ("edgec_clock",))
    numbers = ctypes.c_int64
    run = ctypes.CFUNCTYPE(numbers, numbers, numbers, numbers)(
        loaded.address("edgec_clock")
    )
    fastest = min(_seconds(run) for _ in range(ROUNDS))
    loaded.close()
    return 2 * PAIRS * TRIPS / fastest


def _seconds(run: object) -> float:
    assert callable(run)
    start = time.perf_counter()
    run(TRIPS, 3, 5)
    return time.perf_counter() - start
