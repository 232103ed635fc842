"""Linear layers on bytes of any rank: the pass, and machine code against torch eager.

Scales are powers of two, so that float32 arithmetic of torch is exact, and results are
equal to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import edgec
from edgec.codegen.host import host_features
from edgec.importer import import_model
from edgec.options import Options
from edgec.passes.flatten_rows import FlattenRows
from edgec.target import Target
from edgec.testing import assert_pass_preserves
from tests.effort import examples
from tests.lanes import runnable_targets
from tests.quantized import OPS, fake_quantize

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), Target.native(host_features())],
    ids=lambda target: target.name,
)
STEP = 2.0**-5
ENDS = {"int8": 127, "int4": 7, "ternary": 1}


@dataclass(frozen=True)
class Tokens:
    """Two layers in a row on a tensor, and what stands between and around them."""

    lead: tuple[int, ...]
    sizes: tuple[int, int, int]
    weights: str
    density: float
    """Of blocks of 16 rows and 4 columns of the weights."""
    dtype: torch.dtype
    zero_point: int
    step: str
    turns: bool
    """Whether dimensions change places before the first layer."""
    seed: int


tokens = st.builds(
    Tokens,
    lead=st.sampled_from(
        [(), (1,), (5,), (1, 1), (1, 7), (2, 5), (3, 37), (2, 3, 2), (1, 2, 9)]
    ),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40)),
    weights=st.sampled_from(sorted(ENDS)),
    density=st.sampled_from([1.0, 0.4]),
    dtype=st.sampled_from([torch.int8, torch.uint8]),
    zero_point=st.integers(0, 120),
    step=st.sampled_from(["", "relu", "scale", "sum", "mean", "heads"]),
    turns=st.booleans(),
    seed=st.integers(0, 2**16),
)


class Layer(nn.Module):
    """A weight in codes; all sums are exact in float32."""

    def __init__(self, case: Tokens, inputs: int, outputs: int) -> None:
        super().__init__()
        end = ENDS[case.weights]
        weight = torch.randint(-end, end + 1, (outputs, inputs), dtype=torch.int8)
        keep = torch.rand(-(-outputs // 16), -(-inputs // 4)) < case.density
        keep = keep.repeat_interleave(16, 0).repeat_interleave(4, 1)
        self.register_buffer("weight", weight * keep[:outputs, :inputs])
        self.bias = nn.Parameter(torch.randint(-9, 9, (outputs,)) * STEP)
        self.end, self.scale = end, 2.0**-3 / 2 ** end.bit_length()

    def forward(self, x: Tensor) -> Tensor:
        args = (self.scale, 0, -self.end, self.end, torch.int8)
        weight = OPS.dequantize_per_tensor(self.weight, *args)
        return functional.linear(x, weight, self.bias)


class Network(nn.Module):
    """Bytes, a layer, a step, bytes, a layer, a sum with the bytes."""

    def __init__(self, case: Tokens) -> None:
        super().__init__()
        self.case = case
        first, middle, last = case.sizes
        self.first, self.last = Layer(case, first, middle), Layer(case, middle, last)
        self.factor = nn.Parameter(2.0 ** torch.randint(-1, 2, (middle,)))

    def bytes(self, x: Tensor, step: float = STEP) -> Tensor:
        case = self.case
        ends = (0, 255) if case.dtype == torch.uint8 else (-128, 127)
        return fake_quantize(x, step, ends[0] + case.zero_point, ends, case.dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """With the numbers between the layers."""
        if self.case.turns and x.dim() > 2:
            x = self.bytes(self.bytes(x).transpose(0, 1))
        y = self.first(self.bytes(x))
        match self.case.step:
            case "relu":
                y = torch.relu(y)
            case "scale":
                y = y * self.factor
            case "sum":
                y = y + self.bytes(y.detach(), 2 * STEP)
            case "mean":
                y = y - functional.hardtanh(y[..., :1] + y, -1, 1)
            case "heads":
                y = self.bytes(self.bytes(y.unsqueeze(1)).transpose(0, 1))[0]
            case _:
                pass
        z = self.bytes(y)
        return self.last(z), z


def build(case: Tokens) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(case.seed)
    return Network(case).eval(), torch.randn(*case.lead, case.sizes[0])


@examples(25)
@given(tokens)
def test_values_stay(case: Tokens) -> None:
    model, x = build(case)
    found = import_model(torch.export.export(model, (x,)))
    args = found.module, found.ctx, (x.numpy(),)
    result = assert_pass_preserves(FlattenRows(), *args, rtol=0, idempotent=True)
    assert result.statistics["layers"] == (0 if x.dim() == 2 else 2)


@targets
@examples(6)
@given(case=tokens, threads=st.sampled_from([1, 2]))
def test_as_torch(target: Target, case: Tokens, threads: int) -> None:
    model, x = build(case)
    # Or very sparse layers would be left to float32 kernels.
    options = Options(use_cache=False, sparsity="ignore")
    compiled = edgec.compile(model, x, target=target, threads=threads, options=options)
    layers = [row for row in compiled.report().layers if row.shape]
    assert all(row.scheme.startswith("int") for row in layers), layers
    for found, expected in zip(compiled(x), model(x), strict=True):
        assert torch.equal(found, expected)
