"""Threads that meet at barriers, one running at a time."""

from __future__ import annotations

import pytest
from xdsl.utils.exceptions import InterpretationError

from edgec.interpreter.lockstep import LockStep


@pytest.mark.parametrize("count", [1, 2, 5])
def test_turns_go_round(count: int) -> None:
    team, order = LockStep(count), list[tuple[int, int]]()

    def body(thread: int) -> None:
        for turn in range(3):
            order.append((turn, thread))
            team.meet()
        order.append((3, thread))

    team.run(body)
    assert order == [(turn, thread) for turn in range(4) for thread in range(count)]


@pytest.mark.parametrize("few", [0, 2])
def test_unequal_numbers_of_barriers_are_an_error(few: int) -> None:
    team = LockStep(3)

    def body(thread: int) -> None:
        for _ in range(1 if thread == few else 2):
            team.meet()

    with pytest.raises(InterpretationError, match=r"after 1 barriers .* number 2;"):
        team.run(body)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_of_one_thread_ends_all(failing: int) -> None:
    team = LockStep(3)

    def body(thread: int) -> None:
        team.meet()
        if thread == failing:
            raise KeyError(thread)
        team.meet()

    with pytest.raises(KeyError, match=str(failing)):
        team.run(body)
