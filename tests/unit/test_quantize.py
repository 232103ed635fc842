"""`edgec.compress.quantize`: what programs compute and what they look like."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional
from torch.nn.utils.prune import random_unstructured

import edgec
from edgec.compress import QuantizeReport, quantize
from tests.quantizing import OPS, batches, calls, residual, run

# What the numbers are


class Chain(nn.Module):
    """Two layers, to be followed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4 * 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


def by_hand(values: np.ndarray[Any, Any], low: float, high: float) -> Any:
    """Fake quantization of numpy's."""
    scale = np.float32((high - low) / 255)
    zero = round(-low / float(scale))
    codes = np.clip(np.rint(values * (np.float32(1) / scale)) + zero, 0, 255)
    return ((codes - zero) * scale).astype(np.float32)


def rows_by_hand(weight: np.ndarray[Any, Any]) -> Any:
    """Symmetric codes of 8 bits and their meaning."""
    matrix = weight.reshape(len(weight), -1)
    scales = (np.abs(matrix).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.rint(matrix * (np.float32(1) / scales))
    return codes.reshape(weight.shape), (codes * scales).reshape(weight.shape)


def test_a_program_computes_what_a_simulation_by_hand_does() -> None:
    torch.manual_seed(0)
    model = Chain()
    for _ in range(5):
        model(3 * torch.randn(8, 2, 10))
    model.eval()
    inputs = batches(3, (4, 2, 10))
    program = quantize(model, inputs, observer="minmax", correct_bias=False)
    found = run(program, inputs[1]).numpy()

    norm, conv = model.norm, model.conv
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var + norm.eps).double().sqrt()
    weight = (conv.weight.double() * factor[:, None, None]).float().detach()
    bias = (norm.bias - norm.running_mean * factor).float().detach()

    def middle(x: Tensor, kernel: Tensor) -> Tensor:
        y = functional.conv1d(x, kernel, bias, stride=2, padding=1)
        return torch.relu(y).flatten(1)

    low, high = min(float(x.min()) for x in inputs), max(float(x.max()) for x in inputs)
    highest = max(float(middle(x, weight).max()) for x in inputs)
    codes, values = rows_by_hand(weight.numpy())
    x = torch.from_numpy(by_hand(inputs[1].numpy(), low, high))
    y = by_hand(middle(x, torch.from_numpy(values)).numpy(), 0.0, highest)
    head = model.head.weight.detach().numpy()
    bias_of_head = model.head.bias.detach().numpy()
    expected = y @ rows_by_hand(head)[1].T + bias_of_head
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(program.state_dict["conv.weight_codes"], codes)


def test_bias_correction_leaves_no_mean_error() -> None:
    model, inputs = Chain().eval(), batches(6, (4, 2, 10))
    for weights in ("int8", "ternary"):
        off = [
            torch.cat([run(program, x) - model(x) for x in inputs]).mean(dim=0)
            for program in (
                quantize(model, inputs, weights),
                quantize(model, inputs, weights, correct_bias=False),
            )
        ]
        assert off[0].abs().max() < 1e-5 < off[1].abs().max()


def test_the_report_measures_the_program() -> None:
    model, inputs = residual(), batches()
    reports: list[QuantizeReport] = []
    program = quantize(model, inputs, report=reports.append)
    with torch.no_grad():
        wanted = torch.cat([model(x) for x in inputs]).double()
    off = torch.cat([run(program, x) for x in inputs]).double() - wanted
    snr = 10 * torch.log10(wanted.square().sum() / off.square().sum())
    rows = reports[0].layers
    assert [row.name for row in rows] == ["first", "second", "head"]
    assert rows[-1].snr_db == pytest.approx(float(snr), abs=0.01)
    assert min(row.snr_db for row in rows) > 30
    assert rows[0].dense_bytes == 8 * 27 * 4
    assert rows[0].stored_bytes == 8 * 27 + 8 * 4
    assert rows[0].low == pytest.approx(min(float(x.min()) for x in inputs), rel=0.2)
    assert rows[1].low == 0
    # Three biases are what is left.
    assert reports[0].other_bytes == (8 + 8 + 5) * 4
    assert str(reports[0]).count("\n") == 4


@pytest.mark.parametrize(
    ("weights", "least"),
    [
        ("int8", 35),
        ("int4", 15),
        ("int4:4", 15),
        ("mixed:25", 15),
        ("sp2-4", 12),
        ("pot4", 10),
        ("ternary", 3),
        ("none", 35),
    ],
)
def test_every_format_runs_and_is_as_near_as_its_bits_allow(
    weights: str, least: float
) -> None:
    reports: list[QuantizeReport] = []
    inputs = batches()
    program = quantize(residual(), inputs, weights, report=reports.append)
    assert min(row.snr_db for row in reports[0].layers) > least
    assert torch.isfinite(run(program, inputs[0])).all()
    weight_only = quantize(residual(), inputs, weights, "none") if least < 35 else None
    assert weight_only is None or not calls(weight_only, "quantize_per_tensor")


def test_mixed_gives_the_bits_to_a_part_of_the_rows() -> None:
    program = quantize(residual(), batches(), "mixed:25")
    codes = program.state_dict["second.weight_codes"].flatten(1)
    assert int((codes.abs().amax(dim=1) > 7).sum()) == 2
    op = calls(program, "dequantize_per_channel")[0]
    assert op.args[4:6] == (-127, 127)


def test_mixed_chooses_the_rows_whose_outputs_are_furthest_off() -> None:
    model, inputs = nn.Sequential(nn.Linear(12, 8)), batches(3, (16, 12))
    inputs = [x * torch.logspace(-2, 1, 12) for x in inputs]
    four, mixed = (
        quantize(model, inputs, weights, "none", reconstruct=False, correct_bias=False)
        for weights in ("int4", "mixed:25")
    )
    with torch.no_grad():
        off = torch.cat([run(four, x) - model(x) for x in inputs])
    worst = off.square().mean(dim=0).argsort(descending=True)[:2]
    wide = mixed.state_dict["0.weight_codes"].abs().amax(dim=1) > 7
    assert set(wide.nonzero().flatten().tolist()) == set(worst.tolist())


def test_groups_are_for_matrices_and_the_report_says_so() -> None:
    reports: list[QuantizeReport] = []
    program = quantize(residual(), batches(), "int4:4", report=reports.append)
    assert len(calls(program, "dequantize_per_channel_group")) == 1
    assert program.state_dict["head.weight_scales"].shape == (5, 2)
    notes = [row.note for row in reports[0].layers]
    assert notes == ["a scale per filter: groups are for matrices"] * 2 + [""]
    quantize(residual(), batches(), "int4:3", report=reports.append)
    assert reports[1].layers[2].note == "a scale per row: 8 is no multiple of 3"


def test_pruned_weights_stay_zero() -> None:
    model = residual()
    edgec.compress.prune(model, "unstructured", 0.3, skip_first=False)
    for weights in ("int8", "int4", "int4:4", "ternary", "pot4", "sp2-4", "mixed:50"):
        program = quantize(model, batches(), weights, equalize=True)
        for name in ("first", "second", "head"):
            codes = program.state_dict[f"{name}.weight_codes"]
            weight = model.get_parameter(f"{name}.weight")
            assert not codes[weight == 0].any()
            assert codes.any()


# Where values are quantized


def test_one_pair_per_value_and_one_range_where_elements_only_move() -> None:
    program = quantize(residual(), batches())
    pairs = {str(n.args[0]): n for n in calls(program, "quantize_per_tensor")}
    # relu6 is an operand of the concatenation; its sum is not quantized before it.
    assert set(pairs) == {
        "x",
        "relu",
        "max_pool2d",
        "relu6",
        "cat",
        "slice_1",
        "mean",
    }
    assert len(calls(program, "dequantize_per_tensor")) == len(pairs)
    shared = [pairs[n].args[1:3] for n in ("relu", "max_pool2d", "relu6", "cat")]
    assert len(set(shared)) == 1
    for node in pairs.values():
        codes, value = node, next(iter(node.users))
        assert str(value.target).startswith(f"{OPS}.dequantize_per_tensor")
        assert codes.args[1:] == value.args[1:]
        assert codes.args[3:] == (0, 255, torch.uint8)
        assert isinstance(node.args[0], torch.fx.Node)
        assert set(node.args[0].users) == {codes}


def rounded(program: ExportedProgram) -> set[str]:
    """The values that have codes."""
    return {str(n.args[0]) for n in calls(program, "quantize_per_tensor")}


class Sum(nn.Module):
    """Two branches and their sum."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        one, other = (branch(x) for branch in self.branches)
        return functional.relu(one + other)


def test_a_layer_and_the_residual_added_to_it_are_one_unit() -> None:
    fused = rounded(quantize(residual(), batches()))
    apart = rounded(quantize(residual(), batches(), fuse_sums=False))
    assert apart - fused == {"conv2d_1"}
    assert fused <= apart


@pytest.mark.parametrize(
    ("branches", "expected"),
    [
        # The first one is known when the last one runs.
        ((nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)), {"x", "conv2d"}),
        ((nn.Identity(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU())), {"x"}),
        # The sum adds what a pooling made of the layer.
        (
            (nn.Identity(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.MaxPool2d(1))),
            {"x", "conv2d", "max_pool2d"},
        ),
    ],
)
def test_the_operands_of_a_sum_that_have_codes(
    branches: tuple[nn.Module, ...], expected: set[str]
) -> None:
    assert rounded(quantize(Sum(*branches), batches())) == expected


def test_a_result_that_others_read_too_has_codes() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.second(y) + (x + y)

    # Of the inner sum `conv2d` is read by the second layer as well.
    found = rounded(quantize(Shared(), batches()))
    assert found == {"x", "conv2d", "add"}


def test_the_parts_of_a_split_have_its_range() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            left, right = torch.relu(self.one(x)).chunk(2, dim=1)
            return self.two(left), self.two(right)

    program = quantize(Split(), batches())
    pairs = {str(n.args[0]): n.args[1:3] for n in calls(program, "quantize_per_tensor")}
    assert len(pairs) == 4
    assert {"x", "relu"} < set(pairs)
    assert len(set(pairs.values())) == 2


def test_what_the_caller_gets_is_not_quantized() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = torch.relu(self.one(x))
            return {"y": y, "z": self.two(y)}

    program = quantize(Both(), batches(2, (3, 4)))
    assert len(calls(program, "quantize_per_tensor")) == 2
    output = next(n for n in program.graph.nodes if n.op == "output")
    assert [str(n.target) for n in output.args[0]] == [
        "aten.relu.default",
        "aten.linear.default",
    ]
    assert set(run(program, batches(2, (3, 4))[0])) == {"y", "z"}


def test_skipped_layers_stay_as_they_are() -> None:
    model, reports = residual(), list[QuantizeReport]()
    program = quantize(model, batches(), skip=["fir*"], report=reports.append)
    row = reports[0].layers[0]
    assert (row.weights, row.activations, row.note) == ("none", "none", "skipped")
    assert row.stored_bytes == row.dense_bytes
    assert len(calls(program, "dequantize_per_channel")) == 2
    assert not any(str(n.args[0]) == "x" for n in calls(program, "quantize"))


# The model and the file


def test_the_program_owns_its_tensors_and_the_model_is_left_alone() -> None:
    model, inputs = residual(), batches()
    model.train()
    before = copy.deepcopy(model.state_dict())
    program = quantize(model, inputs, skip="head", equalize=True)
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    y = run(program, inputs[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(run(program, inputs[0]), y)
    floats = {n for n, t in program.state_dict.items() if t.is_floating_point()}
    assert floats == {
        "first.weight_scales",
        "first.bias_values",
        "second.weight_scales",
        "second.bias_values",
        "head.weight_values",
        "head.bias_values",
    }


def test_parameters_and_buffers_outside_of_layers_are_copied() -> None:
    class Shifted(nn.Module):
        shift: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))
            self.register_buffer("shift", torch.ones(4))
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x * self.scale + self.shift)

    model, x = Shifted(), batches(1, (3, 4))[0]
    program = quantize(model, [x])
    y = run(program, x)
    with torch.no_grad():
        model.scale.zero_()
        model.shift.zero_()
    assert torch.equal(run(program, x), y)


def test_a_program_can_be_saved_and_loaded(tmp_path: Path) -> None:
    inputs = batches()
    program = quantize(residual(), inputs, "int4:4")
    torch.export.save(program, tmp_path / "model.pt2")
    again = torch.export.load(tmp_path / "model.pt2")
    assert torch.equal(run(again, inputs[1]), run(program, inputs[1]))


def test_the_same_input_gives_the_same_program() -> None:
    one, two = (quantize(residual(), batches(), "int4") for _ in range(2))
    assert str(one.graph) == str(two.graph)
    for name, tensor in one.state_dict.items():
        assert torch.equal(tensor, two.state_dict[name])


def test_an_exported_program_and_keyword_inputs_are_taken() -> None:
    model = residual()
    exported = torch.export.export(model, (batches()[0],))
    one, two = quantize(exported, batches()), quantize(model, batches())
    assert torch.equal(run(one, batches()[0]), run(two, batches()[0]))
    named = quantize(model, [{"x": x.numpy()} for x in batches()])
    with torch.no_grad():
        assert torch.equal(named.module()(x=batches()[0]), run(two, batches()[0]))


def test_a_module_that_is_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.relu(self.linear(x)))

    model, reports = Twice(), list[QuantizeReport]()
    inputs = batches(4, (8, 4))
    program = quantize(model, inputs, report=reports.append)
    assert [row.name for row in reports[0].layers] == ["linear", "linear@1"]
    with torch.no_grad():
        torch.testing.assert_close(
            run(program, inputs[0]), model(inputs[0]), rtol=0, atol=0.02
        )


def test_copies_for_the_sake_of_strides_stay_and_dropouts_go() -> None:
    class Shuffle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)
            self.drop = nn.Dropout()

        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            y = y.reshape(2, 2, 2, 8, 8).transpose(1, 2).reshape(2, 4, 8, 8)
            return self.two(self.drop(y))

    model, inputs = Shuffle().eval(), batches()
    program = quantize(model, inputs)
    with torch.no_grad():
        wanted = model(inputs[0])
    torch.testing.assert_close(run(program, inputs[0]), wanted, rtol=0, atol=0.05)
    copies = [n for n in program.graph.nodes if "clone" in str(n.target)]
    assert len(copies) == 1
    pairs = {n.args[1:3] for n in calls(program, "quantize_per_tensor")}
    assert len(pairs) == 2


def test_a_masked_weight_is_one_weight() -> None:
    linear = nn.Linear(6, 4)
    random_unstructured(linear, "weight", 0.5)
    program = quantize(nn.Sequential(linear), batches(2, (3, 6)))
    codes = program.state_dict["0.weight_codes"]
    assert int((linear.weight == 0).sum()) == 12
    assert not codes[linear.weight == 0].any()
