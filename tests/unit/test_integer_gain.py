"""Integers or sparse float32: what is predicted, chosen and said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xdsl.dialects.builtin import TensorType, f32
from xdsl.utils.test_value import create_ssa_value

import edgec
from edgec.compress import prune, quantize
from edgec.dialects import nn as ops
from edgec.kernels.cost import Registers
from edgec.options import Options
from edgec.passes.analysis.integer_gain import Gain, Machine, gain_of
from tests.quantized import QuantizedLayer, fake_quantize

WIDE = Machine(Registers(16, 32), 32768, bounded=False)
NARROW = Machine(Registers(8, 16), 32768, bounded=True)


def gain(
    density: float, machine: Machine, block: int = 1, groups: int = 1
) -> Gain | None:
    """Of 3x3 windows of 256 channels, kept in blocks of filters by four channels."""
    rng = np.random.default_rng(0)
    width = 4 if block > 1 else 1
    keep = rng.random((256 // block, 256 // groups // width, 3, 3)) < density
    kept = keep.repeat(block, 0).repeat(width, 1)
    weight = np.where(kept, 5, 0).astype(np.int8)
    x = create_ssa_value(TensorType(f32, (1, 256, 28, 28)))
    w = create_ssa_value(TensorType(f32, weight.shape))
    ones = (1, 1)
    conv = ops.ConvOp(
        x,
        w,
        stride=ones,
        padding_low=ones,
        padding_high=ones,
        dilation=ones,
        groups=groups,
    )
    return gain_of(conv, weight, machine)


def test_both_sides() -> None:
    """Where four products of bytes are three instructions, single weights are not."""
    single, blocks = gain(0.05, NARROW), gain(0.05, NARROW, 8)
    wide = gain(0.004, WIDE)
    assert single is not None
    assert blocks is not None
    assert wide is not None
    assert [each.is_float for each in (single, blocks, wide)] == [True, False, False]
    assert str(Gain(200.0, 100.0)) == "predicted float32 / integers = 0.50"


def test_what_is_not_looked_at() -> None:
    assert gain(0.5, WIDE) is None
    assert gain(0.004, WIDE, groups=4) is None
    assert linear_gain(0.5, WIDE, 128) is None


def linear_gain(density: float, machine: Machine, rows: int) -> Gain | None:
    """Of 768 inputs, kept one by one."""
    keep = np.random.default_rng(0).random((768, 768)) < density
    weight = np.where(keep, 5, 0).astype(np.int8)
    x = create_ssa_value(TensorType(f32, (rows, 768)))
    w = create_ssa_value(TensorType(f32, weight.shape))
    return gain_of(ops.LinearOp(x, w), weight, machine)


@pytest.mark.parametrize(
    ("machine", "rows", "is_float"),
    [(WIDE, 128, False), (NARROW, 128, True), (NARROW, 1, False)],
)
def test_linear_layers(machine: Machine, rows: int, is_float: bool) -> None:
    """With one row it is the bytes of the weights that count."""
    found = linear_gain(0.1, machine, rows)
    assert found is not None
    assert found.is_float == is_float


class Two(nn.Module):
    """A sparse and a dense layer on bytes."""

    def __init__(self, density: float) -> None:
        super().__init__()
        sparse, last = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 8, 1)
        with torch.no_grad():
            sparse.weight *= torch.rand(sparse.weight.shape) < density
        self.sparse, self.last = QuantizedLayer(sparse), QuantizedLayer(last)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.sparse(fake_quantize(x, 0.03, 5)))
        return fake_quantize(self.last(fake_quantize(x, 0.002, -128)), 0.002, 3)


@pytest.mark.parametrize("scheme", ["", "unstructured"])
def test_tokens_run_in_float32_where_that_is_faster(scheme: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(256, 256)).eval(), torch.randn(2, 37, 256)
    if scheme:
        prune(model, scheme, 0.05)
    program = quantize(model, [x], observer="minmax")
    options = Options(use_cache=False)
    compiled = edgec.compile(program, target="x86-64-v3", threads=1, options=options)
    (row,) = compiled.report().layers
    assert row.scheme == (scheme or "int8")
    assert row.why.startswith("float32: so sparse that it is faster") == bool(scheme)
    torch.testing.assert_close(compiled(x), program.module()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("density", "scheme"), [(0.02, "unstructured"), (0.3, "int8")])
def test_what_runs(density: float, scheme: str) -> None:
    torch.manual_seed(0)
    model, x = Two(density).eval(), torch.randn(1, 64, 28, 28)
    compiled = edgec.compile(
        model, x, target="x86-64-v3", threads=1, options=Options(use_cache=False)
    )
    first, last = compiled.report().layers
    assert (first.scheme, last.scheme) == (scheme, "int8")
    is_float = scheme != "int8"
    said = "float32: so sparse that it is faster, predicted float32 / integers = "
    assert first.why.startswith(said) == is_float
    expected = model(x)
    steps = (compiled(x) - expected).abs() / 0.002
    assert steps.max() < 1.1
    assert (steps > 0.5).float().mean() < 0.02
    options = Options(use_cache=False, sparsity="ignore")
    dense = edgec.compile(model, x, target="x86-64-v3", threads=1, options=options)
    assert dense.report().layers[0].scheme == "int8"
