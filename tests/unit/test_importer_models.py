"""Structures, files and weights of whole models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from edgec.context import EdgecContext
from edgec.convention import Convention
from edgec.importer import import_model
from edgec.interpreter import interpret
from tests.importing import TOLERANCE, Call, check, randomized, run, sample


def test_addmm_with_a_transposed_weight_is_linear() -> None:
    linear = nn.Linear(5, 3)
    model = Call(lambda x: torch.addmm(linear.bias, x, linear.weight.t()))
    model.linear = linear
    imported = check(model, sample(2, 5))
    assert "nn.linear" in str(imported.module)
    assert np.shares_memory(imported.ctx.weights["linear.weight"], _array(linear))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_core_aten_programs_import() -> None:
    """Programs that were decomposed to core ATen before they came here."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.Hardswish(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
        nn.LayerNorm(5),
        nn.Softmax(1),
    ).eval()
    x = sample(2, 3, 8, 8)
    program = torch.export.export(randomized(model), (x,)).run_decompositions()
    imported = import_model(program)
    torch.testing.assert_close(
        run(imported, (x,)), model(x).detach(), rtol=TOLERANCE, atol=TOLERANCE
    )


def test_conv_and_norm_stay_whole_when_something_else_is_decomposed() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.LocalResponseNorm(3)
    )
    text = str(check(randomized(model), sample(1, 3, 5, 5)).module)
    assert text.count("nn.conv ") == text.count("nn.batch_norm ") == 1


class Pair(NamedTuple):
    """A structured output."""

    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Record:
    """A dataclass output."""

    total: torch.Tensor
    note: Any


torch.export.register_dataclass(Record, serialized_type_name="test_importer.Record")


class Nested(nn.Module):
    """Nested inputs and outputs, with constants and the same tensor twice."""

    def forward(self, pair: Any, *, scale: float, extra: Any) -> Any:
        """Structures in, structures out."""
        a, b = pair["a"], pair["b"][0]
        total = a + b * scale
        return {
            "record": Record(total, None),
            "list": [total, 3, (a, extra)],
            "pair": Pair(total * 2, b.sum()),
        }


def test_nested_structures_with_constants() -> None:
    args = ({"a": sample(2, 3), "b": [sample(2, 3, seed=1)]},)
    kwargs = {"scale": 0.5, "extra": None}
    model = Nested().eval()
    program = torch.export.export(model, args, kwargs)
    imported = import_model(program)
    arrays = [t.numpy() for t in imported.flatten_inputs(args, kwargs)]
    results = interpret(imported.module, arrays, imported.ctx)
    got = imported.unflatten_outputs([torch.from_numpy(r.copy()) for r in results])
    want = model(*args, **kwargs)
    assert got["record"].note is None
    assert got["list"][1] == 3
    assert got["list"][2][1] is None
    assert isinstance(got["pair"], Pair)
    for found, wanted in (
        (got["record"].total, want["record"].total),
        (got["list"][2][0], want["list"][2][0]),
        (got["pair"].first, want["pair"].first),
        (got["pair"].second, want["pair"].second),
    ):
        torch.testing.assert_close(found, wanted)


def test_keyword_inputs() -> None:
    x = sample(2, 3)
    imported = import_model(nn.ReLU(), {"input": x})
    assert imported.flatten_inputs((), {"input": x})[0] is x


def test_module_in_training_mode_is_imported_as_in_eval_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    model[0].eval()
    imported = import_model(model, sample(4, 3))
    assert "nn.batch_norm" in str(imported.module)
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_a_model_that_uses_no_grad_imports() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = x * 2
        return y + 1

    check(Call(forward), sample(3))


def test_graph_modules_import() -> None:
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval())
    check(graph, sample(2, 3))


def test_file_round_trip(tmp_path: Path) -> None:
    model = randomized(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True))
    ).eval()
    x = sample(1, 3, 5, 5)
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (x,)), path)
    for given in (path, str(path)):
        imported = import_model(given)
        got = run(imported, (x,))
        torch.testing.assert_close(got, model(x).detach(), rtol=1e-5, atol=1e-5)


def test_weights_share_torch_memory_and_tied_ones_are_stored_once() -> None:
    one = nn.Linear(4, 4)
    two = nn.Linear(4, 4)
    two.weight = one.weight
    imported = check(nn.Sequential(one, two), sample(2, 4))
    weights = imported.ctx.weights
    assert sum(np.shares_memory(a, _array(one)) for a in weights.values()) == 1
    assert len(weights) == 3


def test_buffers_that_are_not_saved_are_weights_too() -> None:
    class Shifted(nn.Module):
        shift: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", sample(4), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift

    assert set(check(Shifted(), sample(2, 4)).ctx.weights) == {"shift"}


def test_one_context_holds_several_models() -> None:
    ctx = EdgecContext()
    models = [nn.Linear(3, 3), nn.Linear(3, 3)]
    x = sample(2, 3)
    for model in models:
        imported = import_model(model, x, ctx=ctx)
        torch.testing.assert_close(run(imported, (x,)), model(x).detach())
    assert len(ctx.weights) == 4


def test_weights_of_another_layout_are_copied_contiguous() -> None:
    model = nn.Conv2d(3, 4, 3)
    model.weight.data = model.weight.data.to(memory_format=torch.channels_last)
    imported = check(model, sample(1, 3, 5, 5))
    assert imported.ctx.weights["weight"].flags.c_contiguous


def test_ops_say_where_they_come_from() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), Call(torch.sin))
    text = str(check(model, sample(1, 3)).module)
    assert 'nn.path = "0.0"' in text
    assert 'nn.source = "importing.py:' in text


def test_specs_survive_json() -> None:
    imported = import_model(Call(lambda x: {"y": [x + 1]}), sample(3))
    convention = imported.convention
    stored = json.loads(json.dumps(convention.to_json()))
    assert Convention.from_json(stored) == convention


def _array(linear: nn.Linear) -> np.ndarray[Any, Any]:
    return linear.weight.detach().numpy()
