"""Compiled recurrent layers, compared with torch eager."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

import edgec
from edgec.options import Options
from tests.importing import Call, sample
from tests.unit.test_importer_recurrent import KINDS, layer, states

NO_CACHE = Options(use_cache=False)
TOLERANCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def agree(
    model: Any, *args: Any, threads: int, options: edgec.Options = NO_CACHE
) -> edgec.CompiledModel:
    """Compile, and compare on two inputs."""
    compiled = edgec.compile(model, args, threads=threads, options=options)
    for factor in (1.0, -2.0):
        x = args[0] * factor
        with torch.no_grad():
            expected = model(x, *args[1:])
        found = compiled(x, *args[1:])
        torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    return compiled


def inputs(model: Any, steps: int, rows: int) -> tuple[Any, ...]:
    lead = (rows, steps) if model.batch_first else (steps, rows)
    return sample(*lead, model.input_size), states(model, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_options(kind: str, layers: int, bidirectional: bool) -> None:
    """Each option both ways; the number of layers decides which go together."""
    flags = list(product([False, True], repeat=2))
    for number, (batch_first, bias) in enumerate(flags[layers - 1 :: 2]):
        options = {"batch_first": batch_first, "bias": bias}
        model = layer(kind, 3, 7, layers, bidirectional=bidirectional, **options)
        args = inputs(model, 6, 2)
        agree(model, *args[: 2 - number], threads=1 + number)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("hidden", "steps", "rows", "threads"),
    [
        (1, 200, 1, 1),
        (1, 2, 5, 2),
        (7, 33, 3, 2),
        (16, 17, 4, 1),
        (33, 200, 2, 2),
        (100, 5, 5, 2),
        (100, 200, 1, 2),
        (200, 9, 3, 2),
        (257, 3, 1, 2),
    ],
)
def test_sizes(kind: str, hidden: int, steps: int, rows: int, threads: int) -> None:
    # A layer is compiled as each other one is, but for the width of its input.
    model = layer(kind, 4, hidden, 1, bidirectional=hidden % 2 == 0)
    agree(model, *inputs(model, steps, rows), threads=threads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("hidden", "steps", "rows", "bidirectional"),
    [(24, 200, 1, False), (100, 7, 3, True), (130, 4, 6, False)],
)
def test_pruned(
    kind: str, hidden: int, steps: int, rows: int, bidirectional: bool
) -> None:
    """Weights in blocks of rows are found, and run sparse in each layer."""
    model = layer(kind, 40, hidden, 2, bidirectional=bidirectional)
    edgec.compress.prune(model, "bsp:8", 0.25)
    # Six rows of a small state are faster dense; here the sparse kernels are tested.
    options = replace(NO_CACHE, sparsity="always")
    compiled = agree(model, *inputs(model, steps, rows), threads=2, options=options)
    found = [r for r in compiled.report().layers if r.kind == "nn.recurrent"]
    assert len(found) == 2 * (1 + bidirectional)
    assert {r.scheme.split()[0] for r in found} == {"columns"}
    statistics = compiled.report().statistics["choose-kernel"]
    assert statistics["recurrent_columns"] == len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_no_batch(kind: str) -> None:
    model = layer(kind, 4, 9, 2)
    agree(model, sample(11, 4), threads=2)
    agree(model, sample(11, 4), states(model), threads=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [33, 200])
def test_one_step_at_a_time(kind: str, hidden: int) -> None:
    """The state that one call returns is the next one's input."""
    model = layer(kind, 5, hidden, 2)
    x, state = inputs(model, 50, 1)
    with torch.no_grad():
        expected = model(x, state)
    step = edgec.compile(model, (x[:1], state), threads=2, options=NO_CACHE)
    outputs: list[torch.Tensor] = []
    for t in range(len(x)):
        y, state = step(x[t : t + 1], state)
        outputs.append(y)
    found = (torch.cat(outputs), state)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_pieces_of_one_sequence() -> None:
    """Calls of several lengths, 200 steps together, each from where the last ended."""
    model = layer("lstm", 5, 21, 1)
    lengths = [133, 1, 66]
    x, first = inputs(model, sum(lengths), 3)
    with torch.no_grad():
        expected = model(x, first)
    pieces, state = [], first
    for part in torch.split(x, lengths):
        step = edgec.compile(model, (part, first), threads=2, options=NO_CACHE)
        y, state = step(part, state)
        pieces.append(y)
    found = (torch.cat(pieces), state)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_threads_do_not_change_the_bits(kind: str) -> None:
    model = layer(kind, 5, 130, 1)
    args = inputs(model, 20, 2)
    found = [
        edgec.compile(model, args, threads=threads, options=NO_CACHE)(*args)[0]
        for threads in (1, 2, 3)
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])


class Tagger(nn.Module):
    """Convolution, recurrent layer, linear layer: several op families in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 12, 3, padding=1)
        self.rnn = nn.LSTM(12, 10, bidirectional=True, batch_first=True)
        self.head = nn.Linear(20, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of each position."""
        y = torch.relu(self.conv(x)).transpose(1, 2)
        return self.head(self.rnn(y)[0])


def test_between_other_layers() -> None:
    torch.manual_seed(0)
    compiled = agree(Tagger().eval(), sample(2, 8, 21), threads=2)
    row = next(r for r in compiled.report().layers if r.kind == "nn.recurrent")
    assert (row.layer, row.shape, row.kernel) == (
        "rnn.weight_hh_l0",
        (40, 10),
        "lstm",
    )


def test_a_computed_weight_is_refused() -> None:
    w_ih = sample(12, 4)

    def step(x: torch.Tensor, h: torch.Tensor, w_hh: torch.Tensor) -> torch.Tensor:
        return torch.gru_cell(x, h, w_ih, w_hh)

    args = (sample(2, 4), sample(2, 4), sample(12, 4))
    with pytest.raises(edgec.errors.ImportFailed, match="weight is computed"):
        edgec.compile(Call(step), args, options=NO_CACHE)


def test_the_report_names_every_weight() -> None:
    model = nn.ModuleDict({"a": nn.GRU(3, 4, 2, bidirectional=True)})["a"].eval()
    rows = edgec.compile(model, torch.zeros(2, 1, 3)).report().layers
    names = [
        f"weight_{of}_l{n}{r}"
        for n in (0, 1)
        for r in ("", "_reverse")
        for of in ("ih", "hh")
    ]
    assert [row.layer for row in rows] == names
