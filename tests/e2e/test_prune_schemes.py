"""Models pruned by every scheme: the compiler finds it and computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgec
from edgec.compress import MaskedGradients, granules_for, prune
from tests.importing import sample

X = sample(1, 8, 11, 10)


def network() -> nn.Sequential:
    """Three convolutions of different windows, and a classifier."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    return nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


def compiled(model: nn.Module) -> edgec.CompiledModel:
    options = edgec.Options(sparsity="always", shrink=False, use_cache=False)
    return edgec.compile(model, X, threads=1, options=options)


def schemes_of(model: edgec.CompiledModel) -> dict[str, str]:
    """Of every layer, as in the report."""
    return {layer.layer: layer.scheme for layer in model.report().layers}


def block_of(scheme: str) -> int:
    """The filters of `columns of 8`; 0 for another scheme."""
    return int(scheme.removeprefix("columns of ")) if "columns" in scheme else 0


# Empty where several encodings cost about the same, and any may be chosen.
KINDS = [
    ("pattern", "pattern", "dense"),
    ("connectivity", "pattern", "unstructured"),
    ("unstructured", "unstructured", ""),
    ("2:4", "", ""),
    ("1:4", "unstructured", ""),
    ("block-punched:8", "columns", "columns"),
    ("block-punched:4x4", "columns", "columns"),
    ("column:8", "columns", "columns"),
    ("column:4", "columns", "columns"),
    ("bcr:8x16", "", ""),
    ("channel", "columns", "columns"),
    ("filter", "columns", ""),
]


@pytest.mark.parametrize(("scheme", "three", "one"), KINDS)
def test_the_compiler_finds_the_scheme(scheme: str, three: str, one: str) -> None:
    model = network()
    report = prune(model, scheme)
    ours = compiled(model)
    found = schemes_of(ours)
    assert found["0"] == "dense"
    for name, kind in (("2", three), ("4", one)):
        assert found[name].startswith(kind)
        if scheme.startswith(("block", "column")):
            row = next(row for row in report.pruned if row.name == name)
            assert block_of(found[name]) >= row.block
    with torch.no_grad():
        torch.testing.assert_close(ours(X), model(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
def test_blocks_for_a_machine_are_found(target: str) -> None:
    (block,) = granules_for(target)
    model = network()
    prune(model, f"column:{block}", 0.25)
    found = schemes_of(compiled(model))
    assert [block_of(found[name]) for name in ("2", "4")] == [block, block]


def test_a_model_trained_after_pruning() -> None:
    model = network()
    prune(model, "column:8", 0.25)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with MaskedGradients(model):
        for _ in range(2):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    ours = compiled(model)
    found = schemes_of(ours)
    assert [block_of(found[name]) for name in ("2", "4")] == [8, 8]
    with torch.no_grad():
        torch.testing.assert_close(ours(X), model(X), rtol=1e-4, atol=1e-5)
