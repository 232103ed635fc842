"""How long a cache line takes to the other core and back.

Two virtual processors may lie on cores without a common cache, now or a second later.
Then whatever threads hand to each other comes four to five times as slowly (100 and
450 ns on one machine), and networks with large activations take up to half as long
again. So a table says in which rounds that was so.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from functools import cached_property

import numpy as np

from edgec.codegen.host import host_features
from edgec.codegen.jit import LoadedObject, compile_object, load_object
from edgec.target import Target

TRIPS = 1000
"""Per measurement: half a millisecond at most, unless another process interferes."""

_CODE = """
define void @take_turns(ptr %line, i64 %from, i64 %to, i64 %trips) {
entry:
  br label %trip
trip:
  %n = phi i64 [ 0, %entry ], [ %next, %pass ]
  br label %wait
wait:
  %seen = load atomic i64, ptr %line seq_cst, align 8
  %mine = icmp eq i64 %seen, %from
  br i1 %mine, label %pass, label %wait
pass:
  store atomic i64 %to, ptr %line seq_cst, align 8
  %next = add i64 %n, 1
  %done = icmp eq i64 %next, %trips
  br i1 %done, label %end, label %trip
end:
  ret void
}
"""


class LineTrip:
    """Measures between the first two processors that this process may use."""

    def __call__(self) -> float | None:
        """Nanoseconds there and back; None where threads cannot be bound to two."""
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
            return None
        line, seconds, take_turns = np.zeros(64, np.int64), [0.0], self._take_turns
        cores = sorted(os.sched_getaffinity(0))

        def player(number: int) -> None:
            os.sched_setaffinity(0, {cores[number]})
            start = time.perf_counter()
            take_turns(line.ctypes.data, number, 1 - number, TRIPS)
            if number == 0:  # starts last, and has the first turn
                seconds[0] = time.perf_counter() - start

        players = [threading.Thread(target=player, args=(k,)) for k in (1, 0)]
        for each in players:
            each.start()
            time.sleep(0.001)
        for each in players:
            each.join()
        return 1e9 * seconds[0] / TRIPS

    @cached_property
    def _loaded(self) -> LoadedObject:
        target = Target.native(host_features())
        return load_object(compile_object(_CODE, target), target, ("take_turns",))

    @cached_property
    def _take_turns(self) -> Callable[..., None]:
        numbers = [ctypes.c_int64] * 3
        type_ = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *numbers)
        return type_(self._loaded.address("take_turns"))
