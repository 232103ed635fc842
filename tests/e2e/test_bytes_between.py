"""What stands between integer layers stays in bytes, and is what torch computes.

Scales are powers of two, so that float32 arithmetic of torch is exact, and results are
equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from xdsl.dialects import func
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Operation, SSAValue

import edgec
from edgec.codegen.host import host_features
from edgec.dialects import sq
from edgec.importer import import_model
from edgec.importer.model import ImportedModel
from edgec.interpreter import interpret
from edgec.options import Options
from edgec.pipeline import kernel_passes, run_passes, tensor_passes
from edgec.target import Target
from tests.lanes import runnable_targets
from tests.quantized import OPS, fake_quantize

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), Target.native(host_features())],
    ids=lambda target: target.name,
)
NO_CACHE = Options(use_cache=False)
STEP = 2.0**-5


class Layer(nn.Module):
    """A layer with an int8 weight, all of whose sums are exact in float32."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        weight = torch.randint(-127, 128, shape, dtype=torch.int8)
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """A convolution that keeps the size, or a linear layer."""
        args = (2.0**-9, 0, -127, 127, torch.int8)
        weight = OPS.dequantize_per_tensor(self.weight, *args)
        if weight.dim() == 2:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[2] // 2)


@dataclass(frozen=True)
class Case:
    """What stands between two layers, and the shapes of these."""

    between: Callable[[Tensor], Tensor]
    input: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]


class Network(nn.Module):
    """Bytes, a layer, bytes, something, bytes, a layer."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.between = case.between
        self.first, self.last = Layer(*case.first), Layer(*case.last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(fake_quantize(x, STEP, 5))
        x = self.between(fake_quantize(x, STEP, -3))
        return fake_quantize(self.last(x), STEP, 3)


def map_case(between: Callable[[Tensor], Tensor]) -> Case:
    """On maps of ten channels."""
    return Case(between, (2, 3, 9, 7), (10, 3, 3, 3), (6, 10, 1, 1))


def matrix_case(between: Callable[[Tensor], Tensor]) -> Case:
    """On rows of 70 numbers."""
    return Case(between, (9, 9), (70, 9), (26, 70))


class Sum(nn.Module):
    """A layer and what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer(70, 70)

    def forward(self, x: Tensor) -> Tensor:
        return fake_quantize(torch.relu(self.layer(x) + x), 4 * STEP, -128)


class Joined(nn.Module):
    """What a layer reads, and in the same rows what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer(26, 72)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.layer(x))
        return fake_quantize(torch.cat([x, y], 1), STEP, -3)


def halves(x: Tensor) -> Tensor:
    """Other steps, but the sum is still exact."""
    return fake_quantize(functional.hardtanh(x, -0.5, 1.5), STEP / 2, 30)


def more_channels(x: Tensor) -> Tensor:
    """A shortcut without weights, as in residual networks for small images."""
    y = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 3))
    return fake_quantize(y, STEP, -3)


def enlarge(x: Tensor) -> Tensor:
    """Shares of neighbours are multiples of 1/4."""
    y = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
    return fake_quantize(y, STEP, -3)


def enlarge_to_corners(x: Tensor) -> Tensor:
    """Shares of neighbours are 0 and 1/2; the range is another one."""
    y = functional.interpolate(x, (17, 13), mode="bilinear", align_corners=True)
    return fake_quantize(y, STEP / 2, 30)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """One channel of each group in turn."""
    parts = x.unflatten(1, (groups, -1))
    return fake_quantize(parts.transpose(1, 2).flatten(1, 2), STEP, -3)


def shuffle_in_steps(x: Tensor) -> Tensor:
    """The same, quantized after each step, as torch's quantizers do."""
    parts = fake_quantize(x.reshape(2, 2, 5, 9, 7), STEP, -3)
    turned = fake_quantize(parts.transpose(1, 2), STEP, -3)
    return fake_quantize(turned.reshape(2, 10, 9, 7), STEP, -3)


CASES = {
    "sigmoid": map_case(lambda x: fake_quantize(torch.sigmoid(x), 2.0**-8, -128)),
    "tanh": map_case(lambda x: fake_quantize(torch.tanh(x) * 0.7, 2.0**-7, 4)),
    "square": map_case(lambda x: fake_quantize(x * functional.relu6(x + 3), STEP, 9)),
    "other scale": map_case(lambda x: fake_quantize(x, 3 * STEP, -20)),
    "pad": map_case(
        lambda x: fake_quantize(functional.pad(x, (2, 0, 1, 3), value=-0.5), STEP, -3)
    ),
    "edges": map_case(
        lambda x: fake_quantize(functional.pad(x, (1, 2, 3, 1), "replicate"), STEP, -3)
    ),
    "enlarge": map_case(enlarge),
    "enlarge to corners": map_case(enlarge_to_corners),
    "more channels": Case(more_channels, (2, 3, 9, 7), (8, 3, 3, 3), (6, 15, 1, 1)),
    "shuffle": Case(
        lambda x: shuffle(torch.cat([x, x], 1), 3),
        (2, 3, 9, 7),
        (12, 3, 3, 3),
        (6, 24, 1, 1),
    ),
    "shuffle in steps": map_case(shuffle_in_steps),
    "matrix": matrix_case(lambda x: fake_quantize(functional.silu(x), STEP, -9)),
    "sum": matrix_case(lambda x: fake_quantize(x - halves(x), STEP, 7)),
    "linear sum": matrix_case(Sum()),
    "linear part": Case(Joined(), (9, 9), (72, 9), (26, 98)),
}


def program_of(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    case = CASES[name]
    return Network(case).eval(), torch.randn(case.input)


TABLES = ["sigmoid", "tanh", "square", "other scale", "matrix"]
"""Functions of one byte."""


def imported(model: nn.Module, x: Tensor, *, lower: bool = False) -> ImportedModel:
    """After the passes on tensors, or after all of them."""
    found = import_model(torch.export.export(model, (x,)))
    target = Target.native(host_features())
    passes = tensor_passes(NO_CACHE, target)
    if lower:
        passes = (*passes, *kernel_passes(NO_CACHE, target))
    run_passes(passes, found.ctx, found.module)
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_nothing_but_bytes(name: str) -> None:
    """And the IR means what torch computes."""
    model, x = program_of(name)
    found = imported(model, x)

    def is_float(op: Operation) -> bool:
        values = (*op.operands, *op.results)
        return not sq.has_integers(*(v for v in values if is_tensor(v)))

    kept = ("builtin.module", "func.func", "func.return", "nn.constant")
    ops = [op for op in found.module.walk() if op.name not in kept]
    assert [op.name for op in ops if is_float(op)] == []
    (result,) = interpret(found.module, [x.numpy()], found.ctx)
    assert result.tolist() == model(x).tolist()


def is_tensor(value: SSAValue) -> bool:
    return isinstance(value.type, TensorType)


@targets
@pytest.mark.parametrize("name", list(CASES))
def test_as_torch(name: str, target: Target) -> None:
    model, x = program_of(name)
    compiled = edgec.compile(model, x, target=target, threads=2, options=NO_CACHE)
    expected = model(x)
    assert len(expected.unique()) > 10
    assert torch.equal(compiled(x), expected)


@pytest.mark.parametrize("name", TABLES)
def test_functions_of_a_byte_are_tables(name: str) -> None:
    module = imported(*program_of(name), lower=True).module
    kernels = [op.sym_name.data for op in module.walk() if isinstance(op, func.FuncOp)]
    assert [kernel for kernel in kernels if kernel.startswith("look_up_bytes")]
    assert not [kernel for kernel in kernels if kernel.startswith("elementwise")]
