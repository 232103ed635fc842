"""Counting what kernels do: as often as the interpreter does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner
from xdsl.dialects.builtin import i32

from benchmarks import loads
from benchmarks.__main__ import main
from benchmarks.counting import Counts, count_kernel, count_products
from benchmarks.loads import Layer, Pruning, pruned
from edgec.dialects import lane
from edgec.dialects.lane import buffer_type, lanes_of
from edgec.errors import InvalidInput
from edgec.importer import import_model
from edgec.interpreter import interpret
from edgec.interpreter import lane as machine
from edgec.interpreter.arrays import AnyArray, WideArray
from edgec.kernels.builder import Index, KernelBuilder
from edgec.options import Options
from edgec.pipeline import kernel_passes, run_passes, tensor_passes
from edgec.target import Target

TARGET = Target.parse("x86-64-v3")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """What the interpreter does from now on, op by op."""
    counts = Counts()
    places, multiply = machine.positions, machine.fused_multiply_add

    def access(
        op: lane.LoadOp | lane.StoreOp,
        buffer: AnyArray,
        index: int,
        mask: AnyArray | None,
    ) -> npt.NDArray[np.int64]:
        if isinstance(op, lane.LoadOp):
            counts.vectors += lanes_of(op.result.type) > 1
            is_number = lanes_of(op.result.type) == 1 and buffer.dtype == np.float32
            counts.weights += is_number
            counts.entries += buffer.dtype == np.int32
        return places(op, buffer, index, mask)

    def dot(x: AnyArray, y: AnyArray, z: AnyArray) -> WideArray:
        counts.products += 1
        return multiply(x, y, z)

    monkeypatch.setattr(machine, "positions", access)
    monkeypatch.setattr(machine, "fused_multiply_add", dot)
    return counts


@pytest.mark.parametrize("scheme", ["pattern", "unstructured", "column:4", "2:4"])
@pytest.mark.parametrize(
    "options",
    [
        Options(sparsity="ignore"),
        Options(sparsity="always"),
        Options(sparsity="always", reorder=False, share_loads=False),
        Options(sparsity="always", tune_layouts=False),
    ],
)
def test_counts_are_those_of_the_interpreter(
    scheme: str, options: Options, seen: Counts
) -> None:
    layer = Layer("small", 20, 12, 3, 9)
    conv = pruned(layer, Pruning("", scheme, None if scheme == "2:4" else 0.2))
    # Nothing but the convolution: its input has no padding, its result no gaps.
    conv.padding = (0, 0)
    imported = import_model(conv, torch.zeros(1, 20, 9, 9))
    passes = (*tensor_passes(options, TARGET), *kernel_passes(options, TARGET))
    run_passes(passes, imported.ctx, imported.module)
    counted = count_products(imported.module, imported.ctx.weights)
    x = np.zeros((1, 20, 9, 9), np.float32)
    interpret(imported.module, [x], imported.ctx)
    assert counted.products == seen.products > 0
    assert counted.weights == seen.weights > 0
    assert counted.entries == seen.entries
    # Kernels that copy load vectors and are not counted.
    assert 0 < counted.vectors <= seen.vectors


def test_a_loop_that_depends_on_data_is_refused() -> None:
    b = KernelBuilder("kernel", {"table": buffer_type(4, i32)}, lanes=8)
    b.loop(0, b.load_index("table", b.value(1)), lambda _: None)
    kernel = b.finish()
    with pytest.raises(InvalidInput, match=r"'scf.for' op depends on .* not in the"):
        count_kernel(kernel, {})
    table = np.array([0, 3, 0, 0], np.int32)
    counts = count_kernel(kernel, {kernel.body.block.args[2]: table})
    assert counts == Counts(entries=1)


def test_uneven_turns_are_counted_one_by_one() -> None:
    b = KernelBuilder(
        "kernel", {"x": buffer_type(64), "n": buffer_type(3, i32)}, lanes=8
    )

    def outer(turn: Index) -> None:
        b.loop(0, b.load_index("n", turn), lambda at: b.load("x", at) and None)

    b.loop(0, 3, outer)
    kernel = b.finish()
    table = np.array([2, 0, 5], np.int32)
    counts = count_kernel(kernel, {kernel.body.block.args[3]: table})
    assert counts == Counts(vectors=7, entries=3)


def test_the_suite_finds_permuted_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "LAYERS", (Layer("small", 16, 32, 3, 9),))
    block = Pruning("blocks", "block-punched:8", 1 / 4)
    permuted = Pruning("permuted", "block-punched:8", 1 / 4, is_permuted=True)
    monkeypatch.setattr(loads, "PRUNINGS", (block, permuted))
    file = tmp_path / "loads.json"
    arguments = ["--suite", "loads", "--target", "x86-64-v3", "--json", str(file)]
    result = CliRunner(env={"OMP_NUM_THREADS": "1"}).invoke(main, arguments)
    assert result.exit_code == 0, result.output
    first, second = json.loads(file.read_text())["loads"]
    plain, reordered = first["after"], second["after"]
    assert plain["kernel"] == reordered["kernel"] == "columns"
    assert plain["vectors"] == reordered["vectors"]
    # One load per filter and unit: where the filter's result stands.
    assert plain["loads"] < reordered["loads"] < 1.02 * plain["loads"]
    assert second["after"]["loads"] < 0.8 * second["before"]["loads"]
