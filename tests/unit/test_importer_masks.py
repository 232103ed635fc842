"""Masks and other functions of weights arrive as one constant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import parametrizations, parametrize, prune

from edgec.errors import ImportFailed
from edgec.importer import ImportedModel, import_model
from edgec.interpreter import interpret

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


def agrees(imported: ImportedModel, model: nn.Module) -> None:
    """The interpreter gives eager's numbers."""
    (got,) = interpret(imported.module, [X.numpy()], imported.ctx)
    np.testing.assert_allclose(got, model(X).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_torch_prune_masks_fold() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    prune.random_unstructured(model[0], "weight", 0.5)
    prune.ln_structured(model[2], "weight", 0.5, n=2, dim=0)
    imported = import_model(model, X)
    weights = imported.ctx.weights
    assert set(weights) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert (weights["0.weight"] == 0).sum() == 24
    assert (weights["2.weight"] == 0).all(axis=1).sum() == 2
    assert "binary" not in str(imported.module)
    assert type(model[0].weight) is torch.Tensor
    agrees(imported, model)


def test_torch_ao_pruning_masks_fold() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    sparsifier = WeightNormSparsifier(0.5, sparse_block_shape=(1, 4))
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    imported = import_model(model, X)
    assert (imported.ctx.weights["0.weight"] == 0).mean() == pytest.approx(0.5)
    assert "binary" not in str(imported.module)
    agrees(imported, model)


class Symmetric(nn.Module):
    """A parametrization of several steps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The upper triangle on both sides."""
        return x.triu() + x.triu(1).transpose(-1, -2)


def test_any_parametrization_folds() -> None:
    model = nn.Linear(8, 8).eval()
    parametrize.register_parametrization(model, "weight", Symmetric())
    imported = import_model(model, X)
    weight = imported.ctx.weights["weight"]
    np.testing.assert_array_equal(weight, weight.T)
    agrees(imported, model)


def test_weight_norm_folds() -> None:
    model = nn.Linear(8, 4).eval()
    parametrizations.weight_norm(model)
    imported = import_model(model, X)
    assert len(imported.ctx.weights) == 2
    agrees(imported, model)


def test_weights_that_are_not_masked_are_not_copied() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)).eval()
    prune.random_unstructured(model[0], "weight", 0.5)
    weights = import_model(model, X).ctx.weights
    kept = model.get_parameter("1.weight").detach().numpy()
    assert np.shares_memory(weights["1.weight"], kept)
    assert not weights["1.weight"].flags.writeable


def test_a_constant_that_would_grow_stays_an_op() -> None:
    class Grows(nn.Module):
        row: nn.Parameter

        def __init__(self) -> None:
            super().__init__()
            self.row = nn.Parameter(torch.randn(1, 1, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.row.expand([600, 600, 8])[0, :2]

    model = Grows().eval()
    imported = import_model(model, X)
    assert "nn.broadcast" in str(imported.module)
    assert sum(array.nbytes for array in imported.ctx.weights.values()) == 32
    agrees(imported, model)


def test_random_constants_are_not_folded() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand(8)

    with pytest.raises(ImportFailed, match=r"aten\.rand\.default"):
        import_model(Noise().eval(), X)
