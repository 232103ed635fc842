"""Integer networks: bit for bit what the interpreter says, and near to torch eager."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Operation, SSAValue

import edgec
from edgec.codegen.host import host_features
from edgec.compress import prune, quantize
from edgec.dialects import nn as nn_dialect
from edgec.dialects import sq
from edgec.errors import InvalidInput
from edgec.importer import import_model
from edgec.interpreter import interpret
from edgec.options import Options
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target
from tests.lanes import runnable_targets
from tests.quantized import OPS, QuantizedLayer, fake_quantize

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), Target.native(host_features())],
    ids=lambda target: target.name,
)
NO_CACHE = Options(use_cache=False)
STEP, OFFSET = 0.02, 100
"""Of the result of all networks, so that bytes of it can be compared."""


class Branches(nn.Module):
    """A stem of stride 2, maxima, parts side by side, dilation, an odd window."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, padding=3, stride=2)
        self.narrow, self.wide = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.strided = nn.Conv2d(20, 10, 1, stride=2)
        self.last = nn.Conv2d(30, 6, (3, 2), dilation=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        y = torch.relu(self.narrow(y))
        z = torch.cat([torch.relu(self.wide(y)), y], 1)
        w = functional.interpolate(self.strided(z), size=z.shape[2:])
        return self.last(torch.cat([z, w], 1))


class Residual(nn.Module):
    """Two sums, and channels that are no multiple of four.

    `rank` is the number of dimensions of a window.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.first = conv(3, 9, 3, padding=1)
        self.second = conv(9, 10, 3, stride=2, padding=1, bias=False)
        self.third = conv(10, 10, 3, padding=1)
        self.short = conv(9, 10, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.first(x))
        y = functional.relu(self.second(x))
        return functional.relu6(self.third(y) + y) + self.short(x)


class Mixed(nn.Module):
    """Layers that integer kernels take between such that they do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1)
        self.up = nn.ConvTranspose2d(12, 5, 2, stride=2)
        self.last = nn.Conv2d(5, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.first(x))))
        x = functional.avg_pool2d(torch.relu(self.point(x)), 2)
        return self.last(torch.relu(self.up(x)))


class Depthwise(nn.Module):
    """Windows of one channel each: strides, sizes, ends, and such that stay float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 1)
        self.plain = nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False)
        self.strided = nn.Conv2d(10, 10, (5, 3), 2, (2, 0), groups=10)
        self.wide = nn.Conv2d(10, 10, 3, padding=2, dilation=2, groups=10)
        self.twice = nn.Conv2d(10, 20, 3, padding=1, groups=10)
        self.last = nn.Conv2d(20, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.plain(functional.relu6(self.first(x))))
        x = functional.hardswish(self.wide(self.strided(x)))
        return self.last(torch.relu(self.twice(x)))


class Classifier(nn.Module):
    """Linear layers on a map, flattened as it lies, with steps and a sum between."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.first = nn.Linear(channels * size, 70)
        self.second = nn.Linear(70, 70, bias=False)
        self.last = nn.Linear(70, 9)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(torch.relu(self.conv(x)).flatten(1)))
        return self.last(functional.relu6(self.second(y) + y))


MODELS = {
    "depthwise": (Depthwise, (2, 3, 23, 37)),
    "branches": (Branches, (1, 3, 37, 31)),
    "line": (lambda: Residual(1), (2, 3, 23)),
    "plane": (lambda: Residual(2), (3, 3, 17, 13)),
    "volume": (lambda: Residual(3), (2, 3, 5, 9, 7)),
    "mixed": (Mixed, (2, 3, 12, 10)),
    "flat": (lambda: Classifier(8, 35), (1, 3, 5, 7)),
    "odd flat": (lambda: Classifier(6, 35), (3, 3, 5, 7)),
    "many rows": (lambda: Classifier(5, 1), (33, 3, 1, 1)),
}
models = pytest.mark.parametrize("name", list(MODELS))


def quantized(
    name: str, scheme: str = "", weights: str = "int8"
) -> tuple[ExportedProgram, Tensor]:
    """A quantized network, and an input; made once for all targets and tests."""
    return _quantized(name, scheme, weights)


@cache
def _quantized(name: str, scheme: str, weights: str) -> tuple[ExportedProgram, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model, x = build().eval(), torch.randn(shape)
    if scheme:
        # Blocks of linear layers have a name of their own.
        is_linear = isinstance(model, Classifier)
        prune(model, "bcr:8x4" if is_linear else scheme, 0.3)
    batches = [torch.randn(shape) for _ in range(3)]
    return quantize(model, batches, weights), x


def eager(program: ExportedProgram, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return program.module()(x)


def interpreted(program: ExportedProgram, x: Tensor, target: Target) -> Tensor:
    """What the IR means that kernels are made for."""
    imported = import_model(program)
    run_passes(tensor_passes(NO_CACHE, target), imported.ctx, imported.module)
    (result,) = interpret(imported.module, [x.numpy()], imported.ctx)
    return torch.from_numpy(result)


def integers(compiled: edgec.CompiledModel) -> list[str]:
    """The layers that multiply integers."""
    layers = compiled.report().layers
    return [layer.layer for layer in layers if layer.scheme.startswith("int")]


@targets
@models
@pytest.mark.parametrize("scheme", ["", "block-punched:8x4"])
def test_exactly_what_the_ir_means(name: str, scheme: str, target: Target) -> None:
    program, x = quantized(name, scheme)
    compiled = edgec.compile(program, target=target, threads=2, options=NO_CACHE)
    found = compiled(x)
    assert integers(compiled)
    expected = interpreted(program, x, target)
    if name in ("mixed", "line", "depthwise") or target.name == "generic":
        # Float32 layers sum in another order, chains of steps round once in the IR,
        # and not all targets have a fused multiply-add.
        limit = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=limit)
    else:
        assert torch.equal(found, expected)


@models
def test_near_eager(name: str) -> None:
    """Torch sums rounded products, so a byte may be the next one, in a few places.

    Such a step of an inner tensor is less in the result than a step of that, where
    ranges are alike.
    """
    program, x = quantized(name)
    found = edgec.compile(program, threads=2, options=NO_CACHE)(x)
    codes = [
        torch.round(y / STEP).clamp(-OFFSET, 255 - OFFSET)
        for y in (found, eager(program, x))
    ]
    difference = (codes[0] - codes[1]).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


@models
def test_switched_off(name: str) -> None:
    program, x = quantized(name)
    options = Options(use_cache=False, integers="never")
    compiled = edgec.compile(program, threads=1, options=options)
    assert not integers(compiled)
    expected = eager(program, x)
    limit = 0.02 * float(expected.abs().max())  # a byte of an inner tensor
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=limit)


@targets
@pytest.mark.parametrize("weights", ["int4", "ternary"])
@pytest.mark.parametrize("scheme", ["", "block-punched:8x4"])
def test_linear_layers_of_few_bits(weights: str, scheme: str, target: Target) -> None:
    program, x = quantized("odd flat", scheme, weights)
    compiled = edgec.compile(program, target=target, threads=2, options=NO_CACHE)
    found, bits = compiled(x), {"int4": "int4", "ternary": "int2"}[weights]
    schemes = {row.layer: row.scheme for row in compiled.report().layers}
    assert schemes["first"] == schemes["second"] == schemes["last"] == bits
    expected = interpreted(program, x, target)
    if target.name == "generic":
        limit = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=limit)
    else:
        assert torch.equal(found, expected)


def test_linear_layers_write_bytes() -> None:
    """And read a map as it lies: nothing is moved between the layers."""
    program, _ = quantized("flat")
    imported = import_model(program)
    target = Target.native(host_features())
    run_passes(tensor_passes(NO_CACHE, target), imported.ctx, imported.module)
    layers = [op for op in imported.module.walk() if isinstance(op, sq.LinearOp)]
    assert [sq.has_integers(op.input) for op in layers] == [True] * 3
    assert [sq.has_integers(op.result) for op in layers] == [True, True, False]
    assert len(nn_dialect.shape_of(layers[0].input)) == 4
    kinds = (nn_dialect.ReshapeOp, nn_dialect.TransposeOp)
    assert not [op for op in imported.module.walk() if isinstance(op, kinds)]


def test_what_is_left_in_float32_and_why() -> None:
    program, _ = quantized("mixed")
    report = edgec.compile(program, threads=1, options=NO_CACHE).report()
    schemes = {layer.layer: layer.scheme for layer in report.layers}
    assert schemes["up"] == "dense"
    names = ("first", "depthwise", "point", "last")
    assert [schemes[name] for name in names] == ["int8"] * 4


def test_which_depthwise_layers_multiply_integers() -> None:
    program, _ = quantized("depthwise")
    report = edgec.compile(program, threads=1, options=NO_CACHE).report()
    why = {layer.layer: layer.why for layer in report.layers}
    assert "no integer kernel for 2 filters per channel" in why["twice"]
    schemes = {layer.layer: layer.scheme for layer in report.layers}
    names = ("first", "plain", "strided", "wide", "last")
    assert [schemes[name] for name in names] == ["int8"] * 5


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_kept_columns(target: str) -> None:
    """What is pruned in blocks of filters and channels is not multiplied.

    Without a dot product of bytes it is still those columns that are counted.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3)).eval()
    prune(model, "block-punched:8x4", 0.25)
    program = quantize(model, [torch.randn(1, 3, 20, 20)])
    compiled = edgec.compile(program, target=target, threads=1, options=NO_CACHE)
    report = compiled.report()
    assert report.layers[1].scheme == "int8"
    assert report.layers[1].density == pytest.approx(0.25, abs=0.02)


class Steps(nn.Module):
    """Steps between bytes that no layer takes; ranges that differ."""

    def __init__(self) -> None:
        super().__init__()
        self.first = QuantizedLayer(nn.Conv2d(3, 10, 3, padding=1))
        self.last = QuantizedLayer(nn.Conv2d(10, 6, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = fake_quantize(self.first(fake_quantize(x, 0.03, 5)), 0.011, 3)
        y = functional.max_pool2d(x, 2)
        y = functional.interpolate(y, scale_factor=2, mode="nearest")
        gate = functional.hardswish(fake_quantize(y, 0.02, -7))
        z = fake_quantize(torch.sigmoid(x) * gate + y, 0.012, -50)
        return fake_quantize(self.last(z), 0.02, 3)


def steps_program() -> tuple[ExportedProgram, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 10, 22)
    return torch.export.export(Steps().eval(), (x,)), x


def test_nothing_but_bytes_between_layers() -> None:
    """Pools, resizing, steps and other scales are kernels on bytes."""
    program, _ = steps_program()
    imported = import_model(program)
    target = Target.native(host_features())
    run_passes(tensor_passes(NO_CACHE, target), imported.ctx, imported.module)
    names = [op.name for op in imported.module.walk() if not sq.has_integers(*ends(op))]
    assert "sq.requantize" in [op.name for op in imported.module.walk()]
    kept = {"builtin.module", "func.func", "func.return", "nn.constant"}
    assert set(names) <= {*kept, "sq.convert_layout"}


def ends(op: Operation) -> list[SSAValue]:
    """Tensors that an op reads or makes."""
    return [v for v in (*op.operands, *op.results) if isinstance(v.type, TensorType)]


@targets
def test_steps_between_bytes(target: Target) -> None:
    program, x = steps_program()
    compiled = edgec.compile(program, target=target, threads=2, options=NO_CACHE)
    found, expected = compiled(x), interpreted(program, x, target)
    # Sigmoid is an approximation in kernels, so that a byte may be the next one.
    step = (found - expected).abs() / 0.02
    assert step.max() < 1.01
    assert (step > 0.5).float().mean() < 0.01
    step = (found - eager(program, x)).abs() / 0.02
    assert step.max() < 1.5
    assert (step > 0.5).float().mean() < 0.02


def test_signed_activations() -> None:
    """As torch's own quantizers choose them; bytes between layers."""
    torch.manual_seed(0)

    class Signed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = QuantizedLayer(nn.Conv2d(3, 13, 3, padding=1))
            self.last = QuantizedLayer(nn.Conv2d(13, 6, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(fake_quantize(x, 0.03, 5)))
            return fake_quantize(self.last(fake_quantize(x, 0.011, -128)), 0.02, 3)

    model, x = Signed().eval(), torch.randn(2, 3, 9, 8)
    program = torch.export.export(model, (x,))
    imported = import_model(program)
    target = Target.native(host_features())
    run_passes(tensor_passes(NO_CACHE, target), imported.ctx, imported.module)
    convs = [op for op in imported.module.walk() if isinstance(op, sq.ConvOp)]
    assert [sq.has_integers(op.result) for op in convs] == [True, False]
    compiled = edgec.compile(program, threads=1, options=NO_CACHE)
    steps = (compiled(x) - eager(program, x)).abs() / 0.02
    assert steps.max() < 1.5
    assert (steps > 0.5).float().mean() < 0.01


@pytest.mark.parametrize("zero_point", [0, 3])
def test_weights_with_one_scale(zero_point: int) -> None:
    """With a zero point they are float32."""
    torch.manual_seed(0)
    weight = torch.randint(-127, 128, (5, 3, 3, 3), dtype=torch.int8)

    def call(x: Tensor) -> Tensor:
        args = (0.01, zero_point, -128, 127, torch.int8)
        w = OPS.dequantize_per_tensor(weight, *args)
        return functional.conv2d(fake_quantize(x, 0.03, 5), w)

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x)

    model, x = Model(), torch.randn(1, 3, 8, 8)
    compiled = edgec.compile(model, x, threads=1, options=NO_CACHE)
    assert len(integers(compiled)) == (not zero_point)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-4)


def test_cached_code_takes_other_weights(tmp_path: object) -> None:
    """The number of columns is part of the program, the weights are not."""
    options = Options(cache=str(tmp_path))
    torch.manual_seed(0)
    results: list[bool] = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), torch.ones(1)
        x = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8)
        program = quantize(model, [x])
        compiled = edgec.compile(program, threads=1, options=options)
        torch.testing.assert_close(compiled(x), eager(program, x), rtol=0, atol=1e-5)
        results.append(compiled.report().is_cached)
    assert results == [False, True]


def test_refuses_other_values() -> None:
    with pytest.raises(InvalidInput, match="option `integers` must be one of"):
        Options(integers="always")  # pyright: ignore[reportArgumentType]


def test_inputs_are_not_all_zero() -> None:
    """The comparisons above would be empty otherwise."""
    for name in MODELS:
        program, x = quantized(name)
        assert np.abs(eager(program, x).numpy()).max() > 3 * STEP
