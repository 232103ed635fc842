"""Threads of a kernel that meet at barriers, one running at a time.

Each runs up to the next barrier, then it is the next one's turn. The order is always
the same, so a kernel that reads what it should have waited for gives the same wrong
numbers each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from xdsl.utils.exceptions import InterpretationError


class _Stopped(Exception):
    """Another thread has failed: this one has nothing left to do."""


class LockStep:
    """The threads of one launch."""

    def __init__(self, count: int) -> None:
        self._turns = threading.Condition()
        self._turn = 0
        self._running = list(range(count))
        self._most = 0
        self._final: int | None = None
        self._error: BaseException | None = None
        self._own = threading.local()

    def run(self, body: Callable[[int], None]) -> None:
        """`body(thread)` on every thread; raises what the first of them raised."""
        workers = [
            threading.Thread(target=self._work, args=(thread, body), daemon=True)
            for thread in self._running
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self._error is not None:
            raise self._error

    def meet(self) -> None:
        """Called by a thread at a barrier: it goes on when all others are here."""
        self._own.meetings += 1
        self._most = max(self._most, self._own.meetings)
        if self._final is not None:
            raise _unequal(self._final, self._most)
        self._pass_on(self._own.thread)
        self._wait(self._own.thread)

    def _work(self, thread: int, body: Callable[[int], None]) -> None:
        self._own.thread, self._own.meetings = thread, 0
        try:
            self._wait(thread)
            body(thread)
            self._final = self._own.meetings
            if self._final != self._most:
                raise _unequal(self._final, self._most)
        except _Stopped:
            pass
        # Whatever it is, the thread that called `run` raises it.
        except BaseException as error:  # noqa: BLE001
            self._error = error
        self._pass_on(thread, leaves=True)

    def _wait(self, thread: int) -> None:
        with self._turns:
            self._turns.wait_for(lambda: self._turn == thread)
        if self._error is not None:
            raise _Stopped

    def _pass_on(self, thread: int, *, leaves: bool = False) -> None:
        """It is the turn of the next thread that still runs."""
        with self._turns:
            later = [other for other in self._running if other > thread]
            if leaves:
                self._running.remove(thread)
            self._turn = (later or self._running or [thread])[0]
            self._turns.notify_all()


def _unequal(few: int, many: int) -> InterpretationError:
    return InterpretationError(
        f"a thread ended after {few} barriers and another one came to number {many}; "
        "all threads must come to the same barriers"
    )
