"""The choices of formats for all parts: what they cost, and the best within a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgec.compress.quantization.assembly import Assembled, Setup, assemble
from edgec.compress.quantization.budget import Budget
from edgec.compress.quantization.choice import Options, choose
from edgec.compress.quantization.formats import WeightFormat
from edgec.compress.quantization.network import Layer
from edgec.compress.quantization.parts import Formats, Part
from edgec.compress.quantization.recurrent import RecurrentWeight
from edgec.compress.quantization.sensitivity import Effect, measure
from edgec.errors import InvalidInput

Doubles = npt.NDArray[np.float64]
Picks = tuple[int, ...]
"""For each item the place of a choice."""


@dataclass(frozen=True)
class Search:
    """The options of all items, and what they make together."""

    setup: Setup
    left: Mapping[Part, str]
    budget: Budget
    items: list[tuple[Part, ...]]
    """Parts that share a tensor have one format."""
    errors: Doubles
    """`[items, choices]`."""
    bytes: Doubles
    other_bytes: float
    """Of what is the same for every choice."""
    ms: Doubles | None = None
    """As `bytes`, if there is a limit of them."""

    def formats(self, picks: Picks) -> Formats:
        """What a choice says of each part."""
        chosen: dict[Part, WeightFormat | None] = {}
        left = dict(self.left)
        for parts, pick in zip(self.items, picks, strict=True):
            for part in parts:
                if self.budget.choices[pick] is None:
                    left[part] = ""
                else:
                    chosen[part] = self.budget.choices[pick]
        return Formats(chosen, left)

    def draft(self, picks: Picks) -> Assembled:
        """Its program, calibrated in a hurry: for bytes and milliseconds."""
        return assemble(_hurried(self.setup), self.formats(picks))

    def uniform(self, place: int) -> Picks:
        """One choice for all."""
        return (place,) * len(self.items)

    def error(self, picks: Picks) -> float:
        """What is expected of a choice."""
        return float(at(self.errors, picks).sum())

    def fits_bytes(self, picks: Picks) -> bool:
        """Whether a choice is small enough."""
        limit = self.budget.max_bytes
        size = at(self.bytes, picks).sum() + self.other_bytes
        return limit is None or bool(size <= limit)

    def smallest_error(self) -> tuple[Picks, Assembled]:
        """The best choice within the bytes."""
        picks = self.choose(self.errors)
        if picks is None:
            raise InvalidInput(self.too_few_bytes())
        return picks, assemble(self.setup, self.formats(picks))

    def too_few_bytes(self) -> str:
        """What is wrong with the budget."""
        least = self.bytes.min(axis=1).sum() + self.other_bytes
        return (
            f"max_bytes must be at least {least:,.0f}, the bytes of the smallest of "
            f"these choices, got {self.budget.max_bytes:,}"
        )

    def choose(
        self, errors: Doubles, ms: Doubles | None = None, limit: float = 0.0
    ) -> Picks | None:
        """The least error within the bytes, and within milliseconds if asked for."""
        costs: list[Doubles] = []
        limits: list[float] = []
        if self.budget.max_bytes is not None:
            costs.append(self.bytes)
            limits.append(self.budget.max_bytes - self.other_bytes)
        if ms is not None:
            costs.append(ms)
            limits.append(limit)
        if not costs:
            return tuple(int(place) for place in errors.argmin(axis=1))
        found = choose(Options(errors, np.stack(costs)), limits)
        return None if found is None else found.picks

    def reasons(self, picks: Picks) -> dict[str, tuple[float, str]]:
        """For each part, by its name, its sensitivity and why it has its format."""
        found: dict[str, tuple[float, str]] = {}
        for item, (parts, pick) in enumerate(zip(self.items, picks, strict=True)):
            for part in parts:
                found[part.name] = float(self.errors[item, pick]), self._why(item, pick)
        return found

    def _why(self, item: int, pick: int) -> str:
        best = int(self.errors[item].argmin())
        more = self.errors[item, pick] - self.errors[item, best]
        if not more:
            return "least error of the choices"
        saved: list[str] = []
        size = self.bytes[item, best] - self.bytes[item, pick]
        if self.budget.max_bytes is not None and size > 0:
            saved.append(f"{size:,.0f} B")
        if self.ms is not None and self.ms[item, pick] < self.ms[item, best]:
            saved.append(f"{self.ms[item, best] - self.ms[item, pick]:.3f} ms")
        name = _text(self.budget.choices[best])
        return f"{' and '.join(saved)} less than {name} for {more:.1e} more error"


def searched(setup: Setup, wanted: Formats, budget: Budget) -> Search:
    """Errors and bytes of all options, measured."""
    items = _items(wanted.chosen)
    formats = [chosen for chosen in budget.choices if chosen is not None]
    effects = measure(
        setup.network,
        list(wanted.chosen),
        setup.batches,
        setup.ranges(wanted),
        formats,
        setup.plan,
    )
    shape = len(items), len(budget.choices)
    errors, sizes = np.zeros(shape), np.zeros(shape)
    for item, parts in enumerate(items):
        for place, chosen in enumerate(budget.choices):
            found = [_effect(part, chosen, effects) for part in parts]
            errors[item, place] = sum(effect.error for effect in found)
            sizes[item, place] = sum(effect.num_bytes for effect in found)
    search = Search(setup, wanted.left, budget, items, errors, sizes, 0.0)
    first = search.uniform(budget.choices.index(formats[0]))
    stored = search.draft(first).report.stored_bytes
    return replace(search, other_bytes=stored - at(sizes, first).sum())


def _items(parts: Mapping[Part, object]) -> list[tuple[Part, ...]]:
    """Parts by themselves; calls of a recurrent module share its matrices."""
    found: dict[object, tuple[Part, ...]] = {}
    for part in parts:
        key = (part.node, isinstance(part, RecurrentWeight))
        found[key] = (*found.get(key, ()), part)
    return list(found.values())


def _effect(
    part: Part,
    chosen: WeightFormat | None,
    effects: Mapping[Part, Mapping[WeightFormat, Effect]],
) -> Effect:
    if chosen is not None:
        return effects[part][chosen]
    tensors = [part.weight]
    if isinstance(part, Layer) and part.bias is not None:
        tensors.append(part.bias)
    return Effect(0.0, sum(t.numel() * t.element_size() for t in tensors))


def _hurried(setup: Setup) -> Setup:
    """One batch, the nearest codes: structure and bytes are the same."""
    plan = replace(setup.plan, reconstruct=False)
    return replace(setup, batches=setup.batches[:1], plan=plan, observer="minmax")


def at(table: Doubles, picks: Picks) -> Doubles:
    """What a choice has of each item."""
    return table[np.arange(len(picks)), list(picks)]


def _text(chosen: WeightFormat | None) -> str:
    return "none" if chosen is None else chosen.text
