"""Recurrent layers and cells are imported whole, with eager's numbers."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, rnn

from edgec.dialects.nn import RecurrentOp
from edgec.errors import ImportFailed
from edgec.importer import import_model
from tests.importing import Call, check, sample

KINDS = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),  # pyright: ignore[reportUnknownLambdaType]  # as nn.RNN
}
FLAGS = list(product([False, True], repeat=3))


def layer(kind: str, *sizes: int, **options: Any) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](*sizes, **options).eval()


def states(model: Any, *rows: int) -> Any:
    directions = 2 if model.bidirectional else 1
    shape = (model.num_layers * directions, *rows, model.hidden_size)
    h = sample(*shape, seed=1)
    return (h, sample(*shape, seed=2)) if isinstance(model, nn.LSTM) else h


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("bidirectional", "batch_first", "bias"), FLAGS)
def test_layers(
    kind: str, layers: int, bidirectional: bool, batch_first: bool, bias: bool
) -> None:
    options = {"bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    model = layer(kind, 3, 5, layers, **options)
    x = sample(2, 4, 3)
    imported = check(model, x, states(model, 2 if batch_first else 4))
    found = [o for o in imported.module.walk() if isinstance(o, RecurrentOp)]
    assert len(found) == layers * (2 if bidirectional else 1)
    assert sum(bool(op.reverse) for op in found) == layers * bidirectional


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_shapes(kind: str, batch_first: bool) -> None:
    """One row or step, no batch, no states."""
    model = layer(kind, 3, 5, 2, batch_first=batch_first)
    for shape in ((1, 4), (4, 1), (1, 1), (2, 4)):
        check(model, sample(*shape, 3))
    check(model, sample(4, 3))
    check(model, sample(4, 3), states(model))


class Cells(nn.Module):
    """One step of each kind, with and without states, biases and a batch."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.gru = nn.GRUCell(3, 4, bias=bias)
        self.lstm = nn.LSTMCell(3, 4, bias=bias)
        self.tanh = nn.RNNCell(3, 4, bias=bias)
        self.relu = nn.RNNCell(3, 4, bias=bias, nonlinearity="relu")

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        """All of them."""
        cells = (self.gru, self.tanh, self.relu)
        given = [cell(x, h) for cell in cells], self.lstm(x, (h, 2 * h))
        return given, [cell(x) for cell in cells], self.lstm(x)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [(), (1,), (3,)])
def test_cells(rows: tuple[int, ...], bias: bool) -> None:
    imported = check(Cells(bias=bias), sample(*rows, 3), sample(*rows, 4))
    assert sum(isinstance(o, RecurrentOp) for o in imported.module.walk()) == 8


def test_layers_stay_whole_where_something_else_is_decomposed() -> None:
    model = layer("gru", 3, 4)

    def call(x: torch.Tensor) -> torch.Tensor:
        # addcdiv has no rule of its own.
        return torch.addcdiv(model(x)[0], x[..., :1], 2 + x[..., :1].abs())

    wrapped = Call(call)
    wrapped.model = model
    imported = check(wrapped, sample(5, 2, 3))
    assert sum(isinstance(o, RecurrentOp) for o in imported.module.walk()) == 1


def test_masks_are_folded_into_the_weights() -> None:
    model = layer("gru", 3, 4)
    prune.random_unstructured(model, "weight_hh_l0", amount=0.5)
    imported = check(model, sample(5, 2, 3))
    assert (imported.ctx.weights["weight_hh_l0"] == 0).sum() == 24


def test_import_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_model(layer("lstm", 3, 4, bidirectional=True), sample(5, 2, 3))


def test_projections_are_refused() -> None:
    model = layer("lstm", 3, 4, proj_size=2)
    with pytest.raises(ImportFailed, match=r"it projects its state \(proj_size\)"):
        import_model(model, sample(5, 2, 3))


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_dropout_is_refused_in_training_only() -> None:
    model = layer("gru", 3, 4, 2, dropout=0.5)
    check(model, sample(5, 2, 3))
    program = torch.export.export(model.train(), (sample(5, 2, 3),))
    with pytest.raises(ImportFailed, match=r"in training mode with dropout 0\.5"):
        import_model(program)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_refused(kind: str) -> None:
    model = layer(kind, 3, 4)

    def call(x: torch.Tensor) -> torch.Tensor:
        return model(rnn.pack_padded_sequence(x, [5, 3]))[1]

    wrapped = Call(call)
    wrapped.model = model
    with pytest.raises(ImportFailed, match=r"is a packed sequence.* a padded tensor"):
        import_model(wrapped, sample(5, 2, 3))
    check(model, sample(5, 2, 3))
