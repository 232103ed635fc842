"""What the cost model is told of a layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from edgec.dialects import sq
from edgec.driver import lowered
from edgec.kernels.layout import layout
from edgec.options import Options
from edgec.passes.analysis.predict import flat_positions
from edgec.target import Target


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(3, 4, 1), (9, 7)),
        (nn.Conv2d(3, 4, 3, padding=1), (9, 7)),
        (nn.Conv2d(3, 4, 3), (9, 7)),
        (nn.Conv2d(3, 4, 3, padding=2, dilation=2), (9, 7)),
        (nn.Conv2d(3, 4, (3, 5), padding=(1, 0)), (9, 7)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (9, 7)),
        (nn.Conv2d(3, 4, 5, stride=2), (13, 11)),
        (nn.Conv2d(3, 4, 1, stride=2), (9, 7)),
        (nn.Conv1d(3, 4, 5, padding=2), (17,)),
        (nn.Conv1d(3, 4, 3, stride=2, dilation=2), (17,)),
        (nn.Conv3d(3, 4, 3, padding=1), (5, 6, 7)),
        (nn.Conv3d(3, 4, 3), (5, 6, 7)),
        (nn.Conv3d(3, 4, 3, stride=2, padding=1), (5, 6, 7)),
    ],
    ids=str,
)
def test_a_layer_alone_gets_the_positions_that_were_expected(
    layer: nn.Module, size: tuple[int, ...]
) -> None:
    found: dict[str, int] = {}

    def observe(pass_: ModulePass, module: ModuleOp) -> None:
        for op in module.walk():
            if isinstance(op, sq.ConvOp):
                found[pass_.name] = flat_positions(op)
                result = layout(op.result)
                found["result"] = result.rows * result.pitch

    x, target = torch.zeros(1, 3, *size), Target.parse("x86-64-v3")
    lowered(layer.eval(), x, target, Options(), observe)
    assert found["choose-kernel"] == found["layout-tuning"] == found["result"]
