"""Channels side by side and apart, gates, sums: on bytes, near to torch's graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import edgec
from edgec.options import Options
from tests.e2e.test_integer_means import ends, imported_ops
from tests.quantized import QuantizedLayer, fake_quantize

NO_CACHE = Options(use_cache=False)
BYTES = (0, 255), torch.uint8
STEP = 0.02


def conv(channels: int, filters: int, window: int) -> QuantizedLayer:
    return QuantizedLayer(nn.Conv2d(channels, filters, window, padding=window // 2))


class Parts(nn.Module):
    """Odd channels and other scales side by side; a part of them; one a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 7, 3), conv(3, 5, 1)
        self.last = conv(11, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = fake_quantize(x, 0.03, 5)
        y = fake_quantize(self.first(x), 0.011, 0, *BYTES)
        z = fake_quantize(torch.relu(self.second(x)), 0.013, 255, *BYTES)
        whole = fake_quantize(torch.cat([y, z, self.second(x)], 1), 0.012, 90, *BYTES)
        part = torch.cat([whole[:, 2:8], whole[:, 8:13]], 1)
        return fake_quantize(self.last(fake_quantize(part, 0.012, 90, *BYTES)), STEP, 3)


class Gates(nn.Module):
    """Squeeze and excitation, a sum of two tensors of bytes, and steps after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down, self.up = conv(3, 10, 3), conv(10, 4, 1), conv(4, 10, 1)
        self.last = conv(10, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.first(fake_quantize(x, 0.03, 5)))
        x = fake_quantize(x, 0.01, 40, *BYTES)
        gate = fake_quantize(x.mean((2, 3), keepdim=True), 0.006, 30, *BYTES)
        gate = fake_quantize(functional.relu(self.down(gate)), 0.01, 0, *BYTES)
        gate = functional.hardsigmoid(self.up(gate))
        gate = fake_quantize(gate, 0.004, 0, *BYTES)
        y = fake_quantize(x * gate, 0.008, 45, *BYTES)
        y = fake_quantize(functional.relu6(y + x), 0.012, 45, *BYTES)
        return fake_quantize(self.last(y), STEP, 3)


MODELS: dict[str, Any] = {"parts": Parts, "gates": Gates}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (3, 3, 17, 5)])
def test_near_eager(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    model, x = MODELS[name]().eval(), torch.randn(shape)
    expected = model(x)
    assert expected.abs().max() > 20 * STEP
    for target in ("native", "generic"):
        compiled = edgec.compile(model, x, target=target, threads=2, options=NO_CACHE)
        steps = (compiled(x) - expected).abs() / STEP
        assert steps.max() < 1.01
        assert (steps > 0.5).float().mean() < 0.03


@pytest.mark.parametrize("name", MODELS)
def test_nothing_else_between_layers(name: str) -> None:
    """Whole planes are bytes; only gates of one position are numbers."""
    from edgec.dialects import nn as ops
    from edgec.dialects import sq

    torch.manual_seed(1)
    model, x = MODELS[name]().eval(), torch.randn(2, 3, 8, 9)
    for op in imported_ops(model, x):
        if isinstance(op, ops.ConstantOp) or op.name == "func.return":
            continue
        for value in op.results if ends(op) else ():
            is_plane = ops.shape_of(value)[2:] == (8, 9)
            is_end = any(u.operation.name == "func.return" for u in value.uses)
            is_end |= any(
                isinstance(u.operation, sq.ConvertLayoutOp) for u in value.uses
            )
            assert not is_plane or is_end or sq.has_integers(value), op


def test_what_has_no_kernel_on_bytes_is_reported() -> None:
    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = conv(3, 6, 3), conv(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = fake_quantize(self.first(fake_quantize(x, 0.03, 5)), 0.011, 3)
            x = functional.softmax(x, 1)
            return self.last(fake_quantize(x, 0.011, 3))

    torch.manual_seed(1)
    model, x = Shares().eval(), torch.randn(1, 3, 5, 6)
    compiled = edgec.compile(model, x, threads=1, options=NO_CACHE)
    rows = compiled.report().layers
    assert [row.kind for row in rows] == ["sq.conv", "nn.softmax", "sq.conv"]
    assert rows[1].why == "float32: there is no kernel of nn.softmax on these bytes"
    assert "nn.softmax" in str(compiled.report())
