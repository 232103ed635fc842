"""Parts of `edgec.compress.quantize`, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgec.compress import QuantizeReport, quantize
from edgec.compress.quantization.batches import Run
from edgec.compress.quantization.equalization import equalize
from edgec.compress.quantization.network import read_network
from edgec.compress.quantization.windows import columns
from edgec.errors import ImportFailed, InvalidInput
from tests.quantizing import batches, calls, residual

# Parts


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(6, 4), (2, 5, 6)),
        (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
        (lambda: nn.Conv2d(4, 6, (3, 2), padding=(2, 0), dilation=2), (2, 4, 9, 8)),
        (lambda: nn.Conv2d(4, 6, (3, 4), padding="same", groups=2), (2, 4, 7, 6)),
        (lambda: nn.Conv2d(4, 4, 3, groups=4, padding="valid"), (4, 7, 6)),
        (lambda: nn.Conv3d(2, 4, 3, stride=(1, 2, 1), padding=1), (1, 2, 5, 6, 4)),
    ],
)
def test_columns_are_what_weights_are_multiplied_with(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    network = read_network(model, (x,), {})
    (layer,) = network.layers.values()
    found = columns(layer, x)
    matrix = layer.weight.reshape(layer.groups, -1, found.shape[1])
    assert layer.bias is not None
    products = (matrix @ found).reshape(len(layer.weight), -1) + layer.bias[:, None]
    with torch.no_grad():
        y = model(x)
    y = y.movedim(layer.channel_dimension(y), 0).reshape(len(layer.weight), -1)
    torch.testing.assert_close(products, y)


def test_equalization_keeps_the_function_and_evens_the_ranges() -> None:
    torch.manual_seed(0)
    before, depth = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
    model = nn.Sequential(
        before,
        nn.ReLU(),
        depth,
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.ReLU6(),
        nn.Conv2d(4, 4, 1),
    ).eval()
    with torch.no_grad():
        before.weight.mul_(torch.logspace(-3, 1, 8).reshape(8, 1, 1, 1))
        depth.weight[3] = 0
    x = torch.randn(2, 3, 8, 8)
    network = read_network(model, (x,), {})
    pairs = equalize(network)
    assert [(a.name, b.name) for a, b in pairs] == [("0", "2"), ("2", "4")]
    run = Run(network, [((x,), {})])
    last = x
    for node in run.nodes():
        last = run.compute(node)[0]
        run.keep(node, [last])
    with torch.no_grad():
        torch.testing.assert_close(last, model(x), rtol=1e-4, atol=1e-5)
    first, depthwise, after = (
        layer.weight for layer in list(network.layers.values())[:3]
    )
    usable = [i for i in range(8) if i != 3]
    rows = first.flatten(1).abs().amax(dim=1)
    middle = depthwise.flatten(1).abs().amax(dim=1)
    columns_after = after.transpose(0, 1).flatten(1).abs().amax(dim=1)
    for one, other in ((rows, middle), (middle, columns_after)):
        torch.testing.assert_close(one[usable], other[usable], rtol=0.02, atol=0)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resizing_keeps_the_range(mode: str) -> None:
    """Of the layer before it: both sides have the same codes."""
    resize = nn.Upsample(scale_factor=2, mode=mode)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), resize, nn.Conv2d(4, 2, 1)).eval()
    _, before, after = calls(quantize(model, batches()), "quantize_per_tensor")
    assert before.args[1:3] == after.args[1:3]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "int5"}, "weights must be one of none, int8, .*, got 'int5'"),
        ({"weights": "int4:1"}, "G of at least 2"),
        ({"weights": "mixed:101"}, "P in 0..100"),
        ({"weights": 8}, "weights must be a text, got 8"),
        ({"activations": "int4"}, "activations must be one of int8, none, got 'int4'"),
        ({"observer": "max"}, "one of minmax, mse, percentile, got 'max'"),
        ({"weights": "none", "activations": "none"}, "both 'none'"),
        ({"skip": "stem"}, "no layer matches 'stem'; layers are first, second, head"),
        ({"skip": "*"}, "all layers are skipped"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        quantize(residual(), batches(), **arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one batch, got none"),
        (torch.zeros(2, 3, 8, 8), "must be an iterable of batches.*got Tensor"),
        (7, "got int"),
        (
            [torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8)],
            r"batch 1, .*shape \(2, 3, 8, 8\) as in batch 0; got .* \(1, 3, 8, 8\)",
        ),
        (
            [torch.zeros(2, 3, 8, 8), (torch.zeros(2, 3, 8, 8), 1)],
            "batch 1 must have the structure of the first",
        ),
        (
            [torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), torch.nan)],
            "batch 1, .*must be finite, got 384 infinities or NaNs",
        ),
    ],
)
def test_bad_batches(given: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        quantize(residual(), given)


def test_batches_that_do_not_fit_the_model() -> None:
    with pytest.raises(ImportFailed, match="could not trace Residual"):
        quantize(residual(), [torch.zeros(2, 4, 8, 8)])
    exported = torch.export.export(residual(), (batches()[0],))
    with pytest.raises(InvalidInput, match=r"'x' .* \(2, 3, 8, 8\); .* \(1, 3, 8, 8\)"):
        quantize(exported, [torch.zeros(1, 3, 8, 8)])
    with pytest.raises(InvalidInput, match=r"must have 1 tensors .* got 2"):
        quantize(exported, [(batches()[0], batches()[0])])


def test_the_report_has_a_dash_for_what_is_not_measured() -> None:
    reports: list[QuantizeReport] = []
    quantize(nn.GRU(4, 4).eval(), [torch.zeros(2, 1, 4)], report=reports.append)
    rows = [line for line in str(reports[0]).splitlines() if "recurrent" in line]
    assert len(rows) == 2
    assert all(" -  recurrent: rounded" in row for row in rows)


def test_models_that_cannot_be_quantized() -> None:
    with pytest.raises(InvalidInput, match="no convolution, linear or recurrent layer"):
        quantize(nn.ReLU(), batches())
    with pytest.raises(InvalidInput, match=r"'0' must be float32, got torch\.float64"):
        quantize(nn.Sequential(nn.Linear(4, 4)).double(), [torch.zeros(2, 4).double()])
    linear = nn.Linear(4, 4)
    with torch.no_grad():
        linear.weight[1, 1] = torch.inf
    with pytest.raises(InvalidInput, match="'0' must be finite, got 1"):
        quantize(nn.Sequential(linear), [torch.zeros(2, 4)])


def test_values_that_overflow_in_calibration_are_named() -> None:
    class Overflow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x * 1e30 * 1e30)

    with pytest.raises(InvalidInput, match="calibration makes 'mul_1' infinite or NaN"):
        quantize(Overflow(), [torch.ones(2, 4)])


def test_a_quantized_program_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    program = quantize(model, batches(1))
    with pytest.raises(InvalidInput, match="quantized already"):
        quantize(program, batches(1))
