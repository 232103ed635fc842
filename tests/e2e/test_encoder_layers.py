"""Quantized layers of transformers: integers in every linear layer, near to torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import edgec
from benchmarks.models.transformer import DecoderLayer, EncoderLayer
from edgec.codegen.host import host_features
from edgec.compress import prune, quantize
from edgec.dialects import nn as ops
from edgec.dialects import sq
from edgec.importer import import_model
from edgec.interpreter import interpret
from edgec.options import Options
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target

NATIVE = Target.native(host_features())
NO_CACHE = Options(use_cache=False)
SHAPES = [(1, 16, 32), (2, 7, 32)]
LAYERS = {"bert": EncoderLayer, "gpt2": DecoderLayer}


def program_of(
    name: str, shape: tuple[int, ...], weights: str = "int8"
) -> tuple[ExportedProgram, Tensor]:
    torch.manual_seed(0)
    model, x = LAYERS[name](32, 4).eval(), torch.randn(shape)
    return quantize(model, [x], weights, observer="minmax"), x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYERS)
def test_all_linear_layers_multiply_integers(name: str, shape: tuple[int, ...]) -> None:
    program, x = program_of(name, shape)
    compiled = edgec.compile(program, threads=2, options=NO_CACHE)
    found, expected = compiled(x), program.module()(x)
    rows = compiled.report().layers
    layers = [row.scheme for row in rows if row.shape]
    assert layers == ["int8"] * {"bert": 6, "gpt2": 4}[name]
    # Sums in another order may move a byte by one, in few places; a step of the last
    # sum is a hundredth of its range.
    step = float(expected.abs().max()) / 100
    torch.testing.assert_close(found, expected, rtol=0, atol=step)
    assert ((found - expected).abs() > step / 100).float().mean() < 0.02
    imported = import_model(program)
    run_passes(tensor_passes(NO_CACHE, NATIVE), imported.ctx, imported.module)
    (wanted,) = interpret(imported.module, [x.numpy()], imported.ctx)
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=0, atol=step)


@pytest.mark.parametrize("weights", ["int4", "ternary"])
def test_weights_of_few_bits(weights: str) -> None:
    program, x = program_of("bert", SHAPES[1], weights)
    compiled = edgec.compile(program, threads=1, options=NO_CACHE)
    layers = [row.scheme for row in compiled.report().layers if row.shape]
    assert layers == [{"int4": "int4", "ternary": "int2"}[weights]] * 6
    expected = program.module()(x)
    step = float(expected.abs().max()) / 100
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=step)


def test_granules_are_left_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).eval()
    prune(model, "column:64", 0.25)
    x = torch.randn(2, 7, 64)
    program = quantize(model, [x], observer="minmax")
    compiled = edgec.compile(program, threads=2, options=NO_CACHE)
    first, last = compiled.report().layers
    assert first.scheme == last.scheme == "int8"
    assert "steps=0" not in f"{first.kernel} {last.kernel}"
    torch.testing.assert_close(compiled(x), program.module()(x), rtol=0, atol=1e-5)


def test_bytes_between_the_layers_of_a_perceptron() -> None:
    """And nothing is copied: rows of tokens are rows of matrices."""
    program, _ = program_of("bert", SHAPES[1])
    imported = import_model(program)
    run_passes(tensor_passes(NO_CACHE, NATIVE), imported.ctx, imported.module)
    linears = [op for op in imported.module.walk() if isinstance(op, sq.LinearOp)]
    assert all(len(ops.shape_of(op.input)) == 2 for op in linears)
    assert all(sq.has_integers(op.input) for op in linears)
    *_, wide, narrow = linears
    assert narrow.input is wide.result
    # One for the input, one before each of the other layers.
    quantized = [op for op in imported.module.walk() if isinstance(op, sq.QuantizeOp)]
    assert len(quantized) == 3


def test_what_computes_in_float32_says_so() -> None:
    program, _ = program_of("bert", SHAPES[0])
    report = edgec.compile(program, threads=1, options=NO_CACHE).report()
    said = [row.why for row in report.layers if not row.shape]
    names = ["matmul", "softmax", "matmul", "layer_norm"]
    assert said == [f"float32: there is no integer kernel of nn.{n}" for n in names]
