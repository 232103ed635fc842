"""Cache lines between two cores: a number in nanoseconds, or none."""

from __future__ import annotations

import os

import pytest

from benchmarks.line_trip import LineTrip


def cores() -> set[int]:
    """What this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("processors cannot be asked for")
    return os.sched_getaffinity(0)


def test_a_trip_takes_nanoseconds() -> None:
    before = cores()
    found = LineTrip()()
    assert (found is None) == (len(before) == 1)
    if found is not None:
        # Cores are centimetres apart; a thread that sleeps meanwhile takes long.
        assert 5 < found < 1e9
    assert cores() == before


def test_one_core_has_nobody_to_send_to(monkeypatch: pytest.MonkeyPatch) -> None:
    first = min(cores())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {first})
    assert LineTrip()() is None
