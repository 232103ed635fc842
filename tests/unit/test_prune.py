"""`prune` does what it reports, and leaves a model alone when it raises."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import edgec
from edgec import compress
from edgec.compress.layers import WeightedLayer
from edgec.compress.patterns import CANDIDATES, FIXED
from edgec.compress.storage import fkw_bytes
from edgec.dialects import fkw
from edgec.errors import InvalidInput


def network() -> nn.Sequential:
    """First convolution, two 3x3 to prune, and one layer of each kind left dense."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 16, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(16, 16, 3, groups=4),
        nn.Conv2d(16, 12, 3),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def layer(model: nn.Module, index: int) -> WeightedLayer:
    """Layer number `index` of `network()`."""
    found = model.get_submodule(str(index))
    assert isinstance(found, WeightedLayer)
    return found


def conv(model: nn.Module, index: int) -> npt.NDArray[np.float32]:
    """Weight of a layer as an array that shares its memory."""
    return layer(model, index).weight.detach().numpy()


def step(optimizer: torch.optim.Optimizer) -> None:
    """One step; torch leaves the type of `step` half open."""
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]


def test_prunes_3x3_convolutions_after_the_first() -> None:
    model, before = network(), network()
    report = compress.prune(model, "pattern", density=0.125)
    assert [row.name for row in report.pruned] == ["1", "5"]
    for index in (0, 3, 4, 7):
        assert np.array_equal(conv(model, index), conv(before, index))
    for index, row in zip((1, 5), report.pruned, strict=True):
        weight, old = conv(model, index), conv(before, index)
        kept = weight != 0
        assert np.array_equal(weight[kept], old[kept])
        assert row.density == kept.mean()
        assert kept.any(axis=(2, 3)).sum() == round(0.28125 * weight[:, :, 0, 0].size)
        energy = (
            np.square(weight, dtype=float).sum() / np.square(old, dtype=float).sum()
        )
        assert row.retained_energy == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize("balanced", [False, True])
def test_stored_bytes_are_those_of_fkw_storage(*, balanced: bool) -> None:
    model = network()
    report = compress.prune(model, balanced=balanced)
    for index, row in zip((1, 5), report.pruned, strict=True):
        weight = conv(model, index)
        assert isinstance(fkw.detect(weight), fkw.PatternScheme)
        packed = fkw.reorder(fkw.pack(weight, report.patterns))
        assert row.stored_bytes == packed.stored_bytes
        lengths = np.diff(packed.offset)
        assert not balanced or len(set(lengths.tolist())) == 1
    saved = sum(row.dense_bytes - row.stored_bytes for row in report.pruned)
    assert report.dense_bytes == 4 * sum(p.numel() for p in model.parameters())
    assert report.dense_bytes - report.stored_bytes == saved


def test_report_prints_every_layer_and_why_it_is_dense() -> None:
    report = compress.prune(network())
    lines = str(report).splitlines()
    assert len(lines) == 1 + 6 + 1
    notes = [row.note for row in report.layers]
    assert notes == ["first convolution", "", "1x1 kernels", "4 groups", "", "linear"]
    assert all(
        row.note in line for row, line in zip(report.layers, lines[1:], strict=False)
    )
    assert "2 of 6 layers pruned to density 0.12" in lines[-1]


@pytest.mark.parametrize(("density", "expected"), [(4 / 9, 4 / 9), (1.0, 4 / 9)])
def test_high_densities_keep_every_kernel(density: float, expected: float) -> None:
    report = compress.prune(network(), density=density)
    assert report.density == pytest.approx(expected)


def test_tiny_density_keeps_one_kernel() -> None:
    model = network()
    compress.prune(model, density=1e-9)
    assert np.count_nonzero(conv(model, 1).any(axis=(2, 3))) == 1


def test_first_convolution_can_be_pruned() -> None:
    report = compress.prune(network(), skip_first=False)
    assert [row.name for row in report.pruned] == ["0", "1", "5"]


def test_pattern_sets() -> None:
    assert compress.prune(network()).patterns == FIXED
    mined = compress.prune(network(), patterns="mined6").patterns
    assert len(mined) == 6
    assert set(mined) <= set(CANDIDATES)
    chosen = ((0, 1, 2, 3), (5, 6, 7, 8))
    model = network()
    assert compress.prune(model, patterns=chosen).patterns == chosen
    assert not conv(model, 1)[:, :, 1, 1].any()


def test_mined_patterns_keep_more_than_fixed_ones() -> None:
    fixed, mined = (
        compress.prune(network(), density=4 / 9, patterns=name).pruned[0]
        for name in ("fixed8", "mined16")
    )
    assert mined.retained_energy > fixed.retained_energy


def test_pruning_twice_changes_nothing_more() -> None:
    model = network()
    compress.prune(model)
    once = conv(model, 5).copy()
    report = compress.prune(model)
    assert np.array_equal(conv(model, 5), once)
    assert all(row.retained_energy == 1 for row in report.layers)


def test_half_precision_counts_its_own_bytes() -> None:
    report = compress.prune(network().bfloat16())
    row = report.pruned[0]
    assert row.dense_bytes == 2 * 16 * 8 * 9
    assert row.stored_bytes == fkw_bytes(16, round(0.28125 * 128), 8, element=2)


def test_tied_linear_layers_are_counted_once() -> None:
    model = network()
    extra = nn.Linear(12, 4)
    extra.weight = layer(model, 7).weight
    model.append(extra)
    report = compress.prune(model)
    assert report.layers[-1].note == "weight counted above"
    assert report.dense_bytes == 4 * sum(p.numel() for p in model.parameters())


class Shared(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(4, 4, 3) for _ in range(3))
        self.b.weight = self.a.weight


def spoiled() -> nn.Module:
    model = network()
    with torch.no_grad():
        layer(model, 5).weight[0, 0, 0, 0] = torch.nan
    return model


def parametrized() -> nn.Module:
    model = network()
    nn.utils.parametrizations.weight_norm(layer(model, 5))
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (network(), {"scheme": "magic"}, "scheme must be one of .*, got 'magic'"),
        (network(), {"density": 0.0}, r"density must be in \(0, 1\], got 0.0"),
        (network(), {"density": 1.1}, r"density must be in \(0, 1\], got 1.1"),
        (network(), {"density": float("nan")}, r"density must be in \(0, 1\], got nan"),
        (network(), {"density": "0.5"}, r"density must be in \(0, 1\], got '0.5'"),
        (network(), {"density": True}, r"density must be in \(0, 1\], got True"),
        (network(), {"scheme": 3}, "scheme must be a text, got 3"),
        (network(), {"skip": 5}, "skip takes globs as text, got 5"),
        (network(), {"skip": [5]}, "skip takes globs as text, got 5"),
        (network(), {"layers": [("*", 0.5)]}, "layers must map globs to .*, got"),
        (network(), {"layers": {5: 0.5}}, "layers takes globs as text, got 5"),
        (network(), {"layers": {"*": None}}, r"'\*' must have a density, .*got None"),
        (network(), {"layers": {"*": (0.5, "column")}}, r"got \(0.5, 'column'\)"),
        (network(), {"layers": {"*": ("column", 0.5, 1)}}, r"got \('column', 0"),
        (network(), {"patterns": "mined17"}, "mined16.*got 'mined17'"),
        (network(), {"patterns": "best"}, "patterns must be .*got 'best'"),
        (network(), {"patterns": ()}, "1 to 16 distinct"),
        (network(), {"patterns": ((0, 1, 2, 3),) * 2}, "1 to 16 distinct"),
        (network(), {"patterns": ((0, 1, 3, 2),)}, "ascending order"),
        (network(), {"patterns": ((0, 1, 2),)}, "4 distinct positions"),
        (network(), {"patterns": ((0, 1, 2, 9),)}, "positions in 0..8"),
        (nn.Linear(3, 3), {}, "nothing to prune"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), {}, "nothing to prune.*first convolution"),
        (Shared(), {}, "must not share a weight, got a.weight, b.weight"),
        (spoiled(), {}, "weight of '5' must be finite, got 1 "),
        (parametrized(), {}, "weight of '5' must be a parameter"),
    ],
)
def test_errors_leave_the_model_unchanged(
    model: nn.Module,
    options: dict[str, Any],  # Any: whatever a user may pass
    message: str,
) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(InvalidInput, match=message):
        compress.prune(model, **options)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num())


def test_long_lists_say_how_much_they_leave_out() -> None:
    for count, end in (
        (8, "'7' (linear)"),
        (10, "'7' (linear), and 2 more"),
    ):
        model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(count)))
        with pytest.raises(InvalidInput) as caught:
            compress.prune(model, "pattern")
        assert str(caught.value).endswith(end)


def test_only_modules_are_pruned() -> None:
    with pytest.raises(InvalidInput, match=r"must be an nn.Module, got Tensor"):
        compress.prune(torch.zeros(3))  # type: ignore[arg-type]


def test_masked_training_keeps_zeros_and_moves_the_rest() -> None:
    model = network()
    compress.prune(model)
    masks = compress.masks_of(model)
    assert sorted(masks) == ["1.weight", "5.weight"]
    before = conv(model, 5).copy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    with compress.MaskedGradients(model):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(2, 3, 9, 9)).square().sum().backward()
            step(optimizer)
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert not weight[~mask].any()
    assert (conv(model, 5) != before).any()
    model(torch.randn(2, 3, 9, 9)).square().sum().backward()
    gradient = layer(model, 5).weight.grad
    assert gradient is not None
    assert gradient[~masks["5.weight"]].any(), "the hooks were removed at the end"


def test_masks_undo_the_momentum_of_an_old_optimizer() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 9, 9)).sum().backward()
    step(optimizer)
    compress.prune(model)
    masked = compress.MaskedGradients(model)
    step(optimizer)
    dropped = ~masked.masks["5.weight"]
    assert layer(model, 5).weight[dropped].any()
    masked.apply()
    assert not layer(model, 5).weight[dropped].any()
    masked.remove()
    masked.remove()


def test_masks_must_fit() -> None:
    model = network()
    with pytest.raises(InvalidInput, match="mask 'x' must name a parameter"):
        compress.apply_masks(model, {"x": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(InvalidInput, match=r"mask '7\.bias' must be bool"):
        compress.apply_masks(model, {"7.bias": torch.ones(4)})
    with pytest.raises(InvalidInput, match=r"of shape \(4,\)"):
        compress.MaskedGradients(model, {"7.bias": torch.ones(5, dtype=torch.bool)})


def test_importing_the_package_does_not_load_torch() -> None:
    code = (
        "import sys, edgec.compress, edgec.dialects.fkw; "
        "sys.exit('torch' in sys.modules or 'xdsl' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = compress.nonsense


def test_report_predicts_latency_for_a_target() -> None:
    x = torch.zeros(1, 3, 9, 9)
    model, same = network(), network()
    report = compress.prune(
        model, "pattern", 0.125, example_inputs=x, target="x86-64-v4", threads=2
    )
    compress.prune(same, "pattern", 0.125)
    expected = edgec.predict(same, x, target="x86-64-v4", threads=2)
    assert report.forecast is not None
    ratio = expected.dense_ms / expected.ms
    assert report.forecast.dense_ms / report.forecast.ms == pytest.approx(ratio)
    assert f"({ratio:.2f}x faster; x86-64-v4, 2 threads)" in str(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "native"}, "target needs example_inputs"),
        ({"threads": 2}, "threads go with target"),
        ({"target": "pdp11", "example_inputs": torch.zeros(1, 3, 9, 9)}, "pdp11"),
        ({"target": "native", "example_inputs": torch.zeros(1, 4, 9, 9)}, "channels"),
    ],
)
def test_refuses_a_latency_that_cannot_be_predicted(
    arguments: dict[str, Any], message: str
) -> None:
    model, before = network(), network()
    with pytest.raises(edgec.EdgecError, match=message):
        compress.prune(model, "pattern", 0.125, **arguments)
    assert np.array_equal(conv(model, 1), conv(before, 1))


def test_indices_may_outweigh_the_zeros() -> None:
    model = nn.Sequential(nn.Linear(40, 40))
    assert "x larger, indices" in str(compress.prune(model, "unstructured", 0.9))
    assert "x smaller, indices" in str(compress.prune(model, "unstructured", 0.1))
