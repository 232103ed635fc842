"""What the report says of each layer."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.parser import Parser

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.kernels.lowered import Packed
from edgec.kernels.lowering import lower
from edgec.report import Report, describe_layers
from edgec.tools.opt import EdgecOpt

TEXT = """
func.func @main(%x: tensor<2x4xf32>, %v: tensor<5x4xf32>) -> tensor<2x5xf32> {
  %w = nn.constant "w" : tensor<4x4xf32>
  %y = sq.linear %x, %w {epilogue = [#sq.step<"relu">], nn.path = "one"}
    : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
  %z = sq.linear %y, %v {epilogue = [], nn.path = "two"}
    : tensor<2x4xf32>, tensor<5x4xf32> -> tensor<2x5xf32>
  func.return %z : tensor<2x5xf32>
}
"""


def make_report(*, is_cached: bool = False, is_loaded: bool = False) -> Report:
    module = Parser(EdgecOpt([]).ctx, TEXT).parse_module()
    weights = WeightStore()
    weights.add("w", np.diag(np.arange(4, dtype=np.float32)))
    layers = tuple(describe_layers(module, weights, 16))
    return Report("native", layers, {}, {}, 0, 0, is_cached, is_loaded)


def test_density_is_the_share_that_is_not_zero() -> None:
    assert [layer.density for layer in make_report().layers] == [3 / 16, None]


def test_the_table() -> None:
    assert str(make_report()).splitlines() == [
        "layer  weight  scheme  density  kernel     kB   fused  why",
        "one    4x4     dense   0.188    sq.linear  0.1  relu",
        "two    5x4     dense            sq.linear  0.1",
        "target native, compiled; arena 0.00 MB, largest live set 0.00 MB",
    ]


def test_where_the_code_is_from() -> None:
    assert "native, from the cache;" in str(make_report(is_cached=True))
    loaded = make_report(is_cached=True, is_loaded=True)
    assert "native, loaded;" in str(loaded)
    assert Report.from_json(loaded.to_json()) == loaded


# Weights in integers

INTEGERS = """
!w = !sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 0>
!g = !sq.quant<i8<-127:127>, scale = "gs", zero_point = "gz", axis = 0, group = 16>
func.func @main(%x: tensor<1x64xf32>, %gates: tensor<3x1x96xf32>,
    %h: tensor<1x32xf32>) -> (tensor<1x96xf32>, tensor<1x96xf32>, tensor<3x1x32xf32>) {
  %w = nn.constant "w" : tensor<96x64x!w>
  %y = sq.linear %x, %w {epilogue = []}
    : tensor<1x64xf32>, tensor<96x64x!w> -> tensor<1x96xf32>
  %v = nn.constant "w" : tensor<96x64x!g>
  %z = sq.linear %x, %v {epilogue = []}
    : tensor<1x64xf32>, tensor<96x64x!g> -> tensor<1x96xf32>
  %r = nn.constant "r" : tensor<96x32x!w>
  %all, %last = nn.recurrent gru %gates, %r from %h {reverse = false}
    : tensor<3x1x96xf32>, tensor<96x32x!w> from tensor<1x32xf32>
    -> tensor<3x1x32xf32>, tensor<1x32xf32>
  func.return %y, %z, %all : tensor<1x96xf32>, tensor<1x96xf32>, tensor<3x1x32xf32>
}
"""


def integer_weights(most: int, density: float, zero_point: int) -> WeightStore:
    """Numbers up to `most`, of which blocks of 16 rows keep a share of the columns."""
    generator = np.random.default_rng(0)

    def weight(columns: int) -> np.ndarray:
        w = generator.integers(-most, most + 1, (96, columns))
        kept = generator.random((6, columns)) < density
        return np.asarray(w * np.repeat(kept, 16, axis=0) + zero_point, np.int8)

    weights = WeightStore()
    weights.add("w", weight(64))
    weights.add("r", weight(32))
    for name, shape in (("s", (96,)), ("gs", (96, 4))):
        weights.add(name, np.ones(shape, np.float32))
        zeros = np.full(shape, zero_point, np.int32)
        weights.add(name.replace("s", "z"), zeros)
    return weights


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("density", [0.1, 1.0])
@pytest.mark.parametrize(("most", "bits"), [(1, 2), (7, 4), (100, 8)])
def test_integers_take_what_their_kernels_read(
    most: int, bits: int, density: float, lanes: int
) -> None:
    module = Parser(EdgecOpt([]).ctx, INTEGERS).parse_module()
    weights = integer_weights(most, density, zero_point=3)
    ops = [op for op in module.walk() if isinstance(op, sq.LinearOp | nn.RecurrentOp)]
    rows = describe_layers(module, weights, lanes)
    for op, row in zip(ops, rows, strict=True):
        lowered = lower(op, weights, lanes).arguments
        packed = [each.array for each in lowered if isinstance(each, Packed)]
        assert row.stored_bytes == sum(array.nbytes for array in packed)
        assert row.scheme == f"int{bits}"
        name = "r" if isinstance(op, nn.RecurrentOp) else "w"
        assert row.density == np.mean(weights[name] != 3)
