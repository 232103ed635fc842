"""The best choice of formats that is predicted to take no longer than asked for.

Milliseconds are taken from programs that have one format everywhere: those of layers
as predicted, those of what else runs in equal shares. That is exact for these programs
and near for others, so a choice is predicted as a whole, and made again with a smaller
limit where it is too slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgec.compress.quantization.assembly import Assembled, assemble
from edgec.compress.quantization.budget import Predict
from edgec.compress.quantization.parts import Part
from edgec.compress.quantization.search import Doubles, Picks, Search, at
from edgec.errors import InvalidInput

if TYPE_CHECKING:
    from edgec.forecast import Forecast

ROUNDS = 6
"""How often a choice is made again that is predicted to be too slow."""

STEP = 0.98
"""By which the limit shrinks at least."""


@dataclass(frozen=True)
class Timed:
    """A search with a limit of milliseconds."""

    search: Search
    predict: Predict
    limit: float
    ms: Doubles
    """`[items, choices]`, such that one choice for all takes what is predicted."""
    known: dict[Picks, float]
    """Choices that were predicted as a whole."""

    def smallest_error(self) -> tuple[Picks, Assembled]:
        """The best choice within both budgets.

        The last to be tried is what has been predicted to fit.
        """
        for picks in self._candidates():
            if self._milliseconds(picks) > self.limit:
                continue
            found = assemble(self.search.setup, self.search.formats(picks))
            forecast = self.predict(found.program)
            if forecast.ms <= self.limit:
                report = replace(found.report, forecast=forecast)
                return picks, Assembled(found.program, report)
            # Other codes, with other zeros.
            self.known[picks] = forecast.ms
        raise InvalidInput(self._too_slow())

    def _candidates(self) -> Iterator[Picks]:
        limit = self.limit
        for _ in range(ROUNDS):
            picks = self.search.choose(self.search.errors, self.ms, limit)
            if picks is None:
                break
            yield picks
            modelled = float(at(self.ms, picks).sum())
            excess = self.known[picks] - self.limit
            limit = min(limit - excess, STEP * modelled)
        fastest = self.search.choose(self.ms)
        if fastest is not None:
            yield fastest
        small = filter(self.search.fits_bytes, list(self.known))
        yield from sorted(small, key=self.search.error)

    def _milliseconds(self, picks: Picks) -> float:
        if picks not in self.known:
            program = self.search.draft(picks).program
            self.known[picks] = self.predict(program).ms
        return self.known[picks]

    def _too_slow(self) -> str:
        """What is wrong with the budget."""
        fits = self.search.fits_bytes
        least = min(ms for picks, ms in self.known.items() if fits(picks))
        within = "" if self.search.budget.max_bytes is None else " within max_bytes"
        return (
            f"max_latency must be at least {least:.4g} ms, the fastest of these "
            f"choices{within} by prediction, got {self.limit:g}"
        )


def timed_options(search: Search, predict: Predict, limit: float) -> Timed:
    """Milliseconds of all options, from programs of one format each."""
    known: dict[Picks, float] = {}
    columns: list[list[float]] = []
    for place in range(len(search.budget.choices)):
        picks = search.uniform(place)
        forecast = predict(search.draft(picks).program)
        known[picks] = forecast.ms
        columns.append(_shares(search.items, forecast))
    return Timed(search, predict, limit, np.array(columns).T, known)


def _shares(items: Sequence[tuple[Part, ...]], forecast: Forecast) -> list[float]:
    """Milliseconds of each item; the calls of a layer share those under its path."""
    totals: Counter[str] = Counter()
    for row in forecast.layers:
        totals[row.layer] += row.ms  # pyright: ignore[reportArgumentType]  # a sum of floats
    paths = [[part.name.partition("@")[0] for part in parts] for parts in items]
    calls = Counter(path for each in paths for path in each)
    own = [sum(totals[path] / calls[path] for path in each) for each in paths]
    rest = forecast.ms - sum(own)
    return [ms + rest / len(items) for ms in own]
