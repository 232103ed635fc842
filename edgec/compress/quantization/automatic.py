"""A format for each part such that the whole meets a budget with the least error."""

from __future__ import annotations

from dataclasses import replace

from edgec.compress.quantization.assembly import Assembled, Setup
from edgec.compress.quantization.budget import Budget, Predict
from edgec.compress.quantization.explanation import explained
from edgec.compress.quantization.parts import Formats
from edgec.compress.quantization.search import searched
from edgec.compress.quantization.timed import timed_options


def quantize_within(
    setup: Setup, wanted: Formats, budget: Budget, predict: Predict | None
) -> Assembled:
    """The program with the formats that are best for the parts `wanted`.

    Raises `InvalidInput` for a budget that no choice meets, which says what would do.
    """
    search = searched(setup, wanted, budget)
    if budget.max_latency is None:
        picks, found = search.smallest_error()
    else:
        assert predict is not None
        timed = timed_options(search, predict, budget.max_latency)
        picks, found = timed.smallest_error()
        search = replace(search, ms=timed.ms)
    return Assembled(found.program, explained(found, setup, search.reasons(picks)))
