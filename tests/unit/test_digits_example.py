"""The parts of the demo; `make demo` runs the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from edgec.compress import prune

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from examples.digits import quantized, report
from examples.digits.data import SIZE, Digits, load_digits
from examples.digits.latency import (
    MIN_RUNS,
    ROUNDS,
    Comparison,
    check_agreement,
    measure,
)
from examples.digits.model import DigitNet
from examples.digits.train import SHIFT, accuracy, predict, shift, train

LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two test processes with two threads each get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits()


def test_the_split_is_fixed_and_disjoint(digits: Digits) -> None:
    again = load_digits()
    assert torch.equal(digits.test_images, again.test_images)
    assert torch.equal(digits.train_labels, again.train_labels)
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert digits.train_images.shape[1:] == (1, SIZE, SIZE)
    assert float(digits.train_images.max()) <= 1
    assert digits.test_labels.bincount().min() >= 40


def test_training_learns_and_keeps_the_zeros_of_a_pruned_model(digits: Digits) -> None:
    # At their original size and fewer, to be quick.
    few = Digits(
        avg_pool2d(digits.train_images[:512], 2),
        digits.train_labels[:512],
        avg_pool2d(digits.test_images, 2),
        digits.test_labels,
    )
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    model = DigitNet()
    summary = prune(model)
    train(model, few, epochs=8, peak_rate=5e-3, masked=True)
    for row in summary.pruned:
        weight = model.get_parameter(f"{row.name}.weight")
        assert int(weight.count_nonzero()) <= round(row.density * weight.numel())
    correct = accuracy(predict(model, few.test_images, 32), few.test_labels)
    assert correct > 50
    assert not model.training


def test_predict_fills_the_last_batch_up() -> None:
    sizes: list[int] = []

    def run(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return torch.nn.functional.one_hot(batch[:, 0, 0, 0].long(), 10)

    images = torch.arange(7.0).reshape(7, 1, 1, 1).expand(7, 1, 4, 4)
    assert predict(run, images, 3).tolist() == list(range(7))
    assert sizes == [3, 3, 3]


def test_shift_moves_whole_images() -> None:
    images = torch.zeros(2, 1, 8, 8)
    images[:, :, 4, 4] = 1
    places: set[tuple[int, ...]] = set()
    for seed in range(60):
        moved = shift(images, torch.Generator().manual_seed(seed))
        assert moved.shape == images.shape
        assert torch.equal(moved[0], moved[1])
        places.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    assert len(places) > 10
    assert all(abs(y - 4) <= SHIFT and abs(x - 4) <= SHIFT for y, x in places)


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_engines_that_disagree_are_not_timed(wrong: float) -> None:
    expected = torch.ones(4)
    check_agreement("fine", expected + 1e-5, expected)
    with pytest.raises(ArithmeticError, match="bad: output must agree"):
        check_agreement("bad", torch.full((4,), wrong), expected)


def test_versions_of_fewer_bits(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.digits.latency.TURN_S", 0.0)
    monkeypatch.setattr(quantized, "FORMATS", {"bytes": "int8", "fewer": "ternary"})
    few = replace(digits, test_images=digits.test_images[:6], test_labels=LABELS)
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 10)
    )
    found = quantized.versions(model.eval(), few, batch=4, threads=1)
    assert [each.weights for each in found] == ["float32", "bytes", "fewer"]
    weights = 8 * 9 + 3920
    sizes = [each.stored_bytes for each in found]
    assert sizes[0] >= 4 * weights > 3 * sizes[1] > 6 * sizes[2] >= 6 * weights / 4
    expected = accuracy(predict(model, few.test_images, 4), few.test_labels)
    assert found[0].correct == expected
    assert all(each.latency.median_s > 0 for each in found)
    console = Console(width=120, record=True)
    report.print_versions(console, found, 4, 1)
    assert f"{found[1].correct:.2f} %" in console.export_text()


def test_pictures_and_measurements(
    tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.digits.latency.TURN_S", 0.0)
    latencies = measure(dict.fromkeys(report.COLOURS, torch.relu), torch.zeros(4))
    assert all(entry.count == ROUNDS * MIN_RUNS for entry in latencies.values())
    assert all(0 < entry.median_s <= entry.p95_s for entry in latencies.values())
    charts = [Comparison("one", latencies), Comparison("two", latencies)]
    report.save_latency(tmp_path / "latency.png", charts, 2)
    report.save_digits(
        tmp_path / "digits.png",
        digits.test_images,
        digits.test_labels.roll(1),
        digits.test_labels,
    )
    for name in ("latency.png", "digits.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
