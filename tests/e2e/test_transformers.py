"""Small transformers, natively, against torch; without one copy between the layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgec
from benchmarks.models.layers import randomize
from benchmarks.models.transformer import bert_base, gpt2

LAYERS = 2
LAUNCHES = {"bert": 11 * LAYERS, "gpt2": 9 * LAYERS + 1}
"""BERT: 6 linear layers, 2 products, softmax, 2 norms; GPT-2: one linear layer in the
place of three, and a norm at the end."""


def build(name: str) -> nn.Module:
    model = (bert_base if name == "bert" else gpt2)(LAYERS, width=60, heads=3)
    randomize(model, 0)
    return model.eval()


@pytest.mark.parametrize("fold_moves", [True, False])
@pytest.mark.parametrize("name", LAUNCHES)
def test_same_numbers_and_no_copies(name: str, fold_moves: bool) -> None:
    model = build(name)
    x = torch.randn(2, 19, 60, generator=torch.Generator().manual_seed(1))
    options = edgec.Options(fold_moves=fold_moves, use_cache=False)
    compiled = edgec.compile(model, x, options=options)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
    launches = compiled.report().statistics["convert-to-lane"]["launches"]
    if fold_moves:
        assert launches == LAUNCHES[name]
    else:
        assert launches >= LAUNCHES[name] + 4 * LAYERS
