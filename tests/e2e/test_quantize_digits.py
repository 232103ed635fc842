"""Quantization keeps the accuracy of a trained network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from edgec.compress import QuantizeReport, prune, quantize

pytest.importorskip("sklearn")

from examples.digits.data import Digits, load_digits
from examples.digits.model import DigitNet
from examples.digits.train import accuracy, predict, train

BATCH = 32


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two test processes with two threads each get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits()


@pytest.fixture(scope="module")
def net(digits: Digits) -> DigitNet:
    torch.manual_seed(0)
    model = DigitNet()
    train(model, digits, epochs=4, peak_rate=5e-3)
    return model


def calibration(digits: Digits) -> list[Tensor]:
    return list(digits.train_images[: 4 * BATCH].split(BATCH))


def points(run: Callable[[Tensor], Tensor], digits: Digits) -> float:
    found = predict(run, digits.test_images, BATCH)
    return accuracy(found, digits.test_labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "loss"),
    [("int8", 0.3), ("mixed:10", 1.0), ("int4", 1.0), ("sp2-4", 1.5), ("pot4", 2.5)],
)
def test_the_accuracy_stays(
    digits: Digits, net: DigitNet, weights: str, loss: float
) -> None:
    before = points(net, digits)
    assert before > 97
    reports: list[QuantizeReport] = []
    program = quantize(net, calibration(digits), weights, report=reports.append)
    assert points(program.module(), digits) >= before - loss
    smaller = reports[0].dense_bytes / reports[0].stored_bytes
    assert smaller > (3.8 if weights == "int8" else 6.5)


@pytest.mark.slow
def test_reconstruction_is_what_keeps_ternary_alive(
    digits: Digits, net: DigitNet
) -> None:
    batches = calibration(digits)
    careful = quantize(net, batches, "ternary")
    plain = quantize(net, batches, "ternary", reconstruct=False)
    found = points(careful.module(), digits)
    assert found > points(plain.module(), digits) + 5
    assert found > 90


@pytest.mark.slow
def test_a_pruned_network_stays_pruned_and_as_accurate(
    digits: Digits, net: DigitNet
) -> None:
    model = copy.deepcopy(net)
    prune(model, "pattern", 4 / 9)
    train(model, digits, epochs=2, peak_rate=2e-3, masked=True)
    before = points(model, digits)
    program = quantize(model, calibration(digits))
    assert points(program.module(), digits) >= before - 0.3
    for name, tensor in program.state_dict.items():
        if name.startswith("stages") and name.endswith("conv1.weight_codes"):
            assert int((tensor != 0).sum()) <= tensor.numel() * 4 / 9
