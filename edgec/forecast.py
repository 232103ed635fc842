"""How long a model will take, predicted without compiling it: before and after pruning.

The cycles are those by which kernels are chosen (`edgec.passes.analysis.cycles`); they
become milliseconds by the clock of this computer and the number of threads. No code is
made and nothing of the model is run, so another scheme or density is a second's work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation

from edgec.codegen.clock import measured_hertz
from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.driver import Model, lowered, machine_of
from edgec.errors import InvalidInput
from edgec.importer import ImportedModel
from edgec.kernels.cost_columns import LAUNCH_CYCLES
from edgec.options import Options
from edgec.passes.analysis.cycles import op_cycles
from edgec.runtime.threads import check_threads, default_threads
from edgec.target import Target

Layer = sq.ConvOp | sq.LinearOp | nn.RecurrentOp

SLOWEST_HERTZ = 1e6
"""A clock below that was meant in another unit, such as GHz."""

REMOVED = "removed"
"""Stands for the kernel of a layer of which nothing is left."""


@dataclass(frozen=True)
class LayerForecast:
    """One layer with weights."""

    layer: str
    """Module path."""
    shape: tuple[int, ...]
    """Of the weight, with the channels that nobody needs."""
    kernel: str
    """Family that it runs in; `removed` if nothing of it is left."""
    dense_ms: float
    """Milliseconds if its zeros were weights like any other."""
    ms: float
    """Milliseconds as it is compiled."""


@dataclass(frozen=True)
class Forecast:
    """Predicted times of one call of a model."""

    target: str
    threads: int
    hertz: float
    """Cycles per second that milliseconds were made with."""
    layers: tuple[LayerForecast, ...]
    """In the order in which they run."""
    other_dense_ms: float
    """All other operators, where every layer runs dense."""
    other_ms: float
    """All other operators."""

    @property
    def dense_ms(self) -> float:
        """The whole model with `sparsity="ignore"`."""
        return self.other_dense_ms + sum(layer.dense_ms for layer in self.layers)

    @property
    def ms(self) -> float:
        """The whole model as it is compiled."""
        return self.other_ms + sum(layer.ms for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dump`, with the totals."""
        return {**asdict(self), "dense_ms": self.dense_ms, "ms": self.ms}

    def __str__(self) -> str:
        """A table: a line per layer, one for the rest, then totals."""
        header = ("layer", "weight", "kernel", "dense ms", "ms", "gain")
        rows = [header, *map(_row, self.layers)]
        rest = _cells(self.other_dense_ms, self.other_ms)
        rows.append(("other operators", "", "", *rest))
        rows.append(("total", "", "", *_cells(self.dense_ms, self.ms)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.append(
            f"predicted for target {self.target}, {self.threads} threads at "
            f"{self.hertz / 1e9:.2f} GHz"
        )
        return "\n".join(lines)


def predict(
    model: Model,
    example_inputs: object = None,
    *,
    target: str | Target = "native",
    threads: int | None = None,
    options: Options | None = None,
    hertz: float | None = None,
) -> Forecast:
    """Predict how long each layer of a model takes, dense and as it is.

    Args:
        model: as for `edgec.compile`; pruned, or not.
        example_inputs: as for `edgec.compile`: the work depends on the shapes.
        target: a target or its name.
        threads: threads per call; by default as many as the process may use.
        options: those to compile with; `sparsity="ignore"` is the dense column.
        hertz: clock of a core in Hz; by default that of this computer, measured.

    Raises what `edgec.compile` raises, and `InvalidInput` for a clock that stands.
    """
    machine = machine_of(target)
    workers = default_threads() if threads is None else threads
    check_threads(workers)
    clock = measured_hertz() if hertz is None else hertz
    if not (math.isfinite(clock) and clock > 0):
        raise InvalidInput(f"`hertz` must be a frequency above 0, got {hertz}")
    if clock < SLOWEST_HERTZ:
        raise InvalidInput(
            f"`hertz` must be at least {SLOWEST_HERTZ:g}, got {hertz}: it is in Hz, "
            "3 GHz are 3e9"
        )
    options = Options() if options is None else options
    dense = Options(sparsity="ignore", verify=options.verify)
    before, after = (
        _times(
            lowered(model, example_inputs, machine, each),
            lambda op, weights: _ms(op_cycles(op, machine, weights), workers, clock),
        )
        for each in (dense, options)
    )
    rows = _side_by_side(before.layers, after.layers)
    return Forecast(
        machine.name, workers, clock, tuple(rows), before.other_ms, after.other_ms
    )


def _side_by_side(
    before: Sequence[tuple[Layer, float]], after: Sequence[tuple[Layer, float]]
) -> list[LayerForecast]:
    """A row for each layer of the dense program; zeros may have removed some."""
    rows: list[LayerForecast] = []
    rest = list(after)
    for op, dense_ms in before:
        kernel, ms = REMOVED, 0.0
        if rest and _path(rest[0][0]) == _path(op):
            found, ms = rest.pop(0)
            kernel = _family(found)
        shape = nn.shape_of(op.weight)
        rows.append(LayerForecast(_path(op), shape, kernel, dense_ms, ms))
    assert not rest, f"layers that no dense program has: {rest}"
    return rows


@dataclass(frozen=True)
class _Times:
    """Milliseconds of the ops of a module."""

    layers: list[tuple[Layer, float]]
    other_ms: float


def _ms(cycles: float, threads: int, hertz: float) -> float:
    """Milliseconds of an op: threads share its cycles, not the start of its kernel."""
    if not cycles:
        return 0.0
    return 1e3 * (cycles / threads + LAUNCH_CYCLES) / hertz


def _times(
    model: ImportedModel, ms_of: Callable[[Operation, WeightStore], float]
) -> _Times:
    """Every op of a model."""
    layers: list[tuple[Layer, float]] = []
    other = 0.0
    for op in model.module.walk():
        ms = ms_of(op, model.ctx.weights)
        if isinstance(op, Layer):
            layers.append((op, ms))
        else:
            other += ms
    return _Times(layers, other)


def _path(op: Operation) -> str:
    path = op.attributes.get("nn.path")
    return path.data if isinstance(path, StringAttr) else op.name


def _family(op: Layer) -> str:
    if isinstance(op, nn.RecurrentOp):
        return op.kind.data.value
    return "dense" if op.kernel is None else op.kernel.family.data


def _row(layer: LayerForecast) -> tuple[str, ...]:
    return (
        layer.layer,
        "x".join(map(str, layer.shape)),
        layer.kernel,
        *_cells(layer.dense_ms, layer.ms),
    )


def _cells(dense_ms: float, ms: float) -> tuple[str, str, str]:
    gain = "-" if ms <= 0 else f"{dense_ms / ms:.2f}"
    return f"{dense_ms:.3f}", f"{ms:.3f}", gain
