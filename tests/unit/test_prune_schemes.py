"""`prune` with every scheme: which layers, which densities, what is reported."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from edgec import compress
from edgec.compress.costs import layer_costs
from edgec.compress.layers import layer_weights
from edgec.compress.parsing import SCHEMES, parse_scheme
from edgec.compress.rates import flops_densities, magnitude_densities
from edgec.dialects import columns
from edgec.driver import machine_of
from edgec.errors import InvalidInput, InvalidTarget
from edgec.target import Target
from tests.pruning import SCHEMES as EXAMPLES
from tests.pruning import EveryKind

X = torch.ones(2, 3, 13)


def pruned_names(report: compress.PruneReport) -> list[str]:
    return [row.name for row in report.pruned]


# Names


@pytest.mark.parametrize("text", EXAMPLES)
def test_names_are_read_and_spelled_the_same(text: str) -> None:
    spelled = parse_scheme(text).text
    assert spelled == text
    assert parse_scheme(spelled) == parse_scheme(text)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("column", "column:8"),
        ("block-punched", "block-punched:8"),
        ("block-punched:4x1", "block-punched:4"),
        ("kgs", "kgs:8x4"),
        ("kgs:16", "kgs:16x4"),
        ("bcr", "bcr:8x64"),
        ("bsp:4", "bsp:4x64"),
    ],
)
def test_numbers_left_out_have_defaults(text: str, full: str) -> None:
    assert parse_scheme(text).text == full


def test_every_name_has_an_example() -> None:
    names = {"N:M" if text[0].isdigit() else text.split(":")[0] for text in EXAMPLES}
    assert names == set(SCHEMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "scheme must be one of .*N:M, got ''"),
        ("Column", "got 'Column'"),
        ("column:", "'column:': column takes one positive number, such as column:8"),
        ("column:0", "column takes one positive number"),
        ("column:8x4", "column takes one positive number"),
        ("kgs:8x", "kgs takes positive numbers, such as kgs:8 or kgs:8x4"),
        ("bcr:8x64x2", "bcr takes positive numbers"),
        ("bsp:-8", "bsp takes positive numbers"),
        ("filter:8", "filter takes no parameter"),
        ("pattern:6", "pattern takes no parameter"),
        ("4:4", r"'4:4': N of M .* 1 <= N < M"),
        ("0:4", r"'0:4': N of M"),
    ],
)
def test_bad_names(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_scheme(text)


# Layers

ANY_CONV = ["plain", "point", "line", "volume"]
MATRICES = [
    *("hidden", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.weight_hr_l0"),
    *(f"lstm.weight_{kind}_l0_reverse" for kind in ("ih", "hh", "hr")),
    *(f"lstm.weight_{kind}_l1" for kind in ("ih", "hh", "hr")),
    *(f"lstm.weight_{kind}_l1_reverse" for kind in ("ih", "hh", "hr")),
    *("cell.weight_ih", "cell.weight_hh", "last"),
]
ALL = ["plain", "grouped", "point", "line", "volume", *MATRICES]


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("pattern", ["plain"]),
        ("connectivity", ANY_CONV),
        ("block-punched", ["plain", "grouped", *ANY_CONV[1:]]),
        ("kgs", ["volume"]),
        ("bsp", MATRICES),
        ("unstructured", ALL),
        ("2:4", ALL),
        ("column", ALL),
        ("bcr", [name for name in ALL if name != "grouped"]),
        ("filter", [*ANY_CONV, "hidden"]),
        ("channel", [*ANY_CONV, "hidden", "last"]),
    ],
)
def test_which_layers_a_scheme_prunes(scheme: str, names: list[str]) -> None:
    assert pruned_names(compress.prune(EveryKind(), scheme)) == names


def test_the_report_says_why_layers_stay() -> None:
    report = compress.prune(EveryKind(), "filter", skip="lin?")
    notes = {row.name: row.note for row in report.layers if row.note}
    recurrent = {name: "recurrent" for name in MATRICES if "weight" in name}
    assert notes == {
        "stem": "first convolution",
        "grouped": "2 groups",
        "depthwise": "depthwise",
        "line": "skipped",
        "last": "last linear: its filters are outputs",
        **recurrent,
    }
    assert compress.prune(EveryKind(), "kgs").layers[1].note == (
        "not 3-D; block-punched prunes it"
    )


@pytest.mark.parametrize("scheme", EXAMPLES)
def test_what_is_kept_is_reported_and_the_rest_is_zero(scheme: str) -> None:
    model, before = EveryKind(), EveryKind().state_dict()
    report = compress.prune(model, scheme)
    masks = compress.masks_of(model)
    keys = {w.name: w.parameter_name for w in layer_weights(model).values()}
    for row in report.layers:
        weight, old = model.get_parameter(keys[row.name]), before[keys[row.name]]
        kept = weight != 0
        assert torch.equal(weight[kept], old[kept])
        assert row.density == pytest.approx(float(kept.float().mean()))
        assert (keys[row.name] in masks) == (row.density < 1)
        assert row.scheme == (scheme if row in report.pruned else "dense")
        new, whole = (float(t.detach().double().square().sum()) for t in (weight, old))
        assert row.retained_energy == pytest.approx(new / whole)
    others = {name for name in before if name not in keys.values()}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in others)
    assert len(str(report).splitlines()) == len(report.layers) + 2
    again = {name: p.clone() for name, p in model.state_dict().items()}
    compress.prune(model, scheme)
    assert all(torch.equal(p, again[name]) for name, p in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
def test_masked_training_keeps_the_zeros_of_every_kind_of_layer() -> None:
    model = EveryKind()
    compress.prune(model, "column:4", 0.25)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    with compress.MaskedGradients(model) as masked:
        assert sorted(masked.masks) == sorted(
            layer_weights(model)[name].parameter_name for name in ALL
        )
        loss = model(X).square().sum() + model.lstm(torch.ones(2, 3, 7))[0].sum()
        loss += model.cell(torch.ones(2, 5)).sum()
        loss += model.plain(torch.ones(1, 10, 5, 5)).sum()
        loss.backward()
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    for name in ("lstm.weight_hh_l1", "cell.weight_hh", "plain.weight", "last.weight"):
        weight = model.get_parameter(name)
        assert not weight[~masked.masks[name]].any()
        assert (weight != before[name]).any()


def test_stored_bytes_of_a_grouped_convolution_are_those_of_its_groups() -> None:
    model = EveryKind()
    report = compress.prune(model, "column:4", 0.25)
    row = next(row for row in report.pruned if row.name == "grouped")
    groups = model.grouped.weight.detach().numpy().reshape(2, 10, 6, 3, 3)
    packed = [columns.pack(group, row.block) for group in groups]
    assert row.block == 4
    assert row.stored_bytes == sum(part.stored_bytes for part in packed)


def test_a_block_has_no_more_filters_than_the_layer() -> None:
    report = compress.prune(EveryKind(), "column:64")
    blocks = {row.name: row.block for row in report.pruned}
    assert (blocks["plain"], blocks["grouped"], blocks["point"]) == (12, 10, 9)


def test_half_precision_counts_its_own_bytes() -> None:
    whole = compress.prune(EveryKind(), "column:4")
    half = compress.prune(EveryKind().half(), "column:4")
    for a, b in zip(whole.pruned, half.pruned, strict=True):
        weights = a.shape[0] * int(np.prod(a.shape[1:]))
        assert b.dense_bytes == 2 * weights
        assert b.stored_bytes < a.stored_bytes


# Choosing layers


def test_layers_choose_scheme_and_density() -> None:
    model = EveryKind()
    report = compress.prune(
        model,
        "column:8",
        0.5,
        layers={
            "lstm.weight_hh*": 0.25,
            "plain": "pattern",
            "point": ("column:4", 0.75),
            "hidden": "2:4",
            "l*": "unstructured",
        },
    )
    rows = {row.name: row for row in report.layers}
    assert rows["plain"].scheme == "pattern"
    assert rows["plain"].density == pytest.approx(4 / 9, abs=0.01)
    assert rows["point"].scheme == "column:4"
    assert rows["point"].density == pytest.approx(0.75, abs=0.05)
    assert (rows["hidden"].scheme, rows["line"].scheme) == ("2:4", "unstructured")
    assert rows["lstm.weight_hh_l0"].scheme == "column:8"
    assert rows["lstm.weight_hh_l0"].density == pytest.approx(0.25, abs=0.05)
    assert rows["lstm.weight_ih_l0"].scheme == "unstructured"
    assert rows["lstm.weight_ih_l0"].density == 0.5
    assert {rows[n].note for n in ("volume", "cell.weight_ih")} == {"not chosen"}
    assert report.patterns


def test_skip_takes_one_glob_or_several() -> None:
    one = compress.prune(EveryKind(), "kgs", skip="lstm")
    assert pruned_names(one) == ["volume"]
    some = compress.prune(EveryKind(), "bsp", skip=("lstm", "*.weight_ih"))
    assert pruned_names(some) == ["hidden", "cell.weight_hh", "last"]


# Rates


def test_uniform_gives_all_layers_the_same() -> None:
    report = compress.prune(EveryKind(), "unstructured", 0.25)
    assert all(abs(r.density - 0.25) < 1 / 50 for r in report.pruned)


def test_flops_keeps_the_share_of_operations() -> None:
    model = EveryKind()
    chosen = dict.fromkeys(("hidden", "last"), 1.0)
    costs = layer_costs(
        model, [layer_weights(model)[name] for name in chosen], (torch.ones(2, 3, 13),)
    )
    assert costs == {"hidden": 2 * 6 * 13 * 16, "last": 2 * 6 * 16 * 10}
    report = compress.prune(
        model,
        "unstructured",
        0.25,
        rates="flops",
        example_inputs=X,
        layers={"hidden": "unstructured", "last": "unstructured"},
    )
    hidden, last = (row.density for row in report.pruned)
    kept = hidden * costs["hidden"] + last * costs["last"]
    assert kept == pytest.approx(0.25 * sum(costs.values()), rel=0.01)
    assert last / hidden == pytest.approx((13 / 10) ** 0.5, rel=0.02)
    assert hidden < 0.25 < last


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.9, 1.0])
def test_flops_densities_stay_between_their_bounds(density: float) -> None:
    costs = {"heavy": 1e9, "middle": 1e6, "light": 10.0}
    found = flops_densities(density, costs, dict.fromkeys(costs, 1.0))
    values = list(found.values())
    assert values == sorted(values)
    assert all(density / 3 <= value <= 1 for value in values)
    kept = sum(found[name] * costs[name] for name in costs)
    assert kept == pytest.approx(density * sum(costs.values()))
    capped = flops_densities(density, costs, dict.fromkeys(costs, 4 / 9))
    assert max(capped.values()) <= 4 / 9


def test_magnitude_is_one_threshold_for_the_net() -> None:
    torch.manual_seed(1)  # pyright: ignore[reportUnknownMemberType]
    model = nn.Sequential(nn.Linear(20, 16), nn.Linear(16, 24), nn.Linear(24, 3))
    old = torch.cat([p.detach().flatten() for p in matrices(model)])
    report = compress.prune(model, "unstructured", 0.3, rates="magnitude")
    new = torch.cat([p.detach().flatten() for p in matrices(model)])
    count = round(0.3 * old.numel())
    assert int((new != 0).sum()) == count
    assert new.abs()[new != 0].min() >= old.abs().sort(descending=True)[0][count - 1]
    assert len({round(row.density, 3) for row in report.pruned}) == 3


def matrices(model: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if name.endswith("weight")]


def test_magnitude_weighs_granules_by_their_size() -> None:
    scores = {
        "a": (np.array([8.0, 2.0]), np.array([2, 2])),
        "b": (np.array([3.0, 1.0, 0.5]), np.array([1, 1, 1])),
    }
    found = magnitude_densities(3 / 7, scores, {"a": 4, "b": 3})
    assert found == {"a": 2 / 4, "b": 1 / 3}


@pytest.mark.parametrize("scheme", [s for s in EXAMPLES if not s[0].isdigit()])
def test_magnitude_leaves_no_layer_empty(scheme: str) -> None:
    model = EveryKind()
    with torch.no_grad():
        for weight in layer_weights(model).values():
            if weight.name in ("plain", "volume", "hidden"):
                weight.tensor.mul_(1e-3)
    report = compress.prune(model, scheme, 0.2, rates="magnitude")
    assert all(row.density > 0 for row in report.pruned)


def test_counting_operations_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3))
    model[1].eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    costs = layer_costs(model, layer_weights(model).values(), torch.ones(2, 2, 9, 8))
    assert costs == {"0": 2 * 7 * 6 * 4 * 2 * 9, "2": 2 * 5 * 4 * 8 * 4 * 9}
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())  # pyright: ignore[reportPrivateUsage] - torch shows them nowhere else


def test_operations_of_recurrent_layers_are_counted_by_steps() -> None:
    lstm, cell = nn.LSTM(7, 10), nn.GRUCell(5, 8)
    packed = nn.utils.rnn.pack_sequence([torch.ones(4, 7), torch.ones(2, 7)])
    weights = list(layer_weights(lstm).values())
    sizes = {w.name: w.geometry.size for w in weights}
    for given, steps in ((torch.ones(6, 2, 7), 12), ((packed,), 6)):
        found = layer_costs(lstm, weights, given)
        assert found == {name: steps * size for name, size in sizes.items()}
    found = layer_costs(cell, layer_weights(cell).values(), {"input": torch.ones(3, 5)})
    assert found == {"weight_ih": 3 * 24 * 5, "weight_hh": 3 * 24 * 8}


# Errors


def tied() -> nn.Module:
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    model[1].weight = model[0].weight
    return model


def spoiled() -> nn.Module:
    model = EveryKind()
    with torch.no_grad():
        model.get_parameter("lstm.weight_hh_l0")[0, 0] = torch.inf
    return model


def parametrized() -> nn.Module:
    model = EveryKind()
    nn.utils.parametrizations.weight_norm(model.lstm, "weight_hh_l0")
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (EveryKind(), {"scheme": "2:4", "density": 0.25}, "'2:4' fixes .* at 0.5"),
        (EveryKind(), {"layers": {"plain": ("1:4", 0.5)}}, "'1:4' fixes .* at 0.25"),
        (EveryKind(), {"layers": {"plain": 1.5}}, r"density must be in \(0, 1\]"),
        (EveryKind(), {"layers": {"plain": "magic"}}, "scheme must be one of"),
        (EveryKind(), {"layers": {"plane": 0.5}}, "layers: 'plane' must match a layer"),
        (EveryKind(), {"skip": "plane"}, r"skip: 'plane' must match.*'stem', 'plain'"),
        (EveryKind(), {"layers": {"last": 0.5}}, "nothing to prune.*'last' .linear"),
        (EveryKind(), {"rates": "best"}, "rates must be one of uniform, .*'best'"),
        (EveryKind(), {"rates": "flops"}, "needs example_inputs"),
        (EveryKind(), {"scheme": "2:4", "rates": "flops"}, "density .* is given"),
        (
            EveryKind(),
            {"scheme": "kgs", "rates": "flops", "example_inputs": X},
            "did not call 'volume'",
        ),
        (EveryKind(), {"scheme": "kgs", "balanced": True}, "balanced goes with"),
        (EveryKind(), {"scheme": "kgs", "patterns": "mined6"}, "patterns goes with"),
        (nn.ReLU(), {}, "the model has no layer with a weight"),
        (tied(), {"scheme": "column"}, "must not share a weight, got 0.weight"),
        (spoiled(), {"scheme": "column"}, "'lstm.weight_hh_l0' must be finite, got 1"),
        (parametrized(), {"scheme": "bsp"}, "'lstm.weight_hh_l0' must be a parameter"),
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
        assert torch.equal(parameter, before[name])


# Machines


@pytest.mark.parametrize(
    ("target", "sizes"),
    [
        ("x86-64-v4", (8,)),
        ("x86-64-v4+vnni+amx", (8,)),
        ("x86-64-v3", (4,)),
        ("aarch64", (4,)),
        ("generic", (4,)),
        (Target.parse("x86-64-v4"), (8,)),
    ],
)
def test_granules_for_a_machine(target: str | Target, sizes: tuple[int, ...]) -> None:
    assert compress.granules_for(target) == sizes


def test_the_machine_must_be_known() -> None:
    with pytest.raises(InvalidTarget, match="unknown target 'x86-64-v9'"):
        compress.granules_for("x86-64-v9")
    assert compress.granules_for() == compress.granules_for(machine_of("native"))


def test_granules_for_recurrent_layers() -> None:
    for target in ("x86-64-v3", "x86-64-v4", "generic"):
        assert compress.granules_for(target, layers="recurrent") == (16,)
    with pytest.raises(InvalidInput, match=r"layers must be one of .*got 'gru'"):
        compress.granules_for("generic", layers=cast(Any, "gru"))
