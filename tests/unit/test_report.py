"""What the report says of each layer."""

from __future__ import annotations

import numpy as np
from xdsl.parser import Parser

from edgec.context import WeightStore
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
    layers = tuple(describe_layers(module, weights))
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
