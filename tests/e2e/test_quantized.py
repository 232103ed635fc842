"""Quantized models: what compiled code computes, compared with torch eager."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import edgec
from edgec.options import Options
from tests.importing import Call, sample
from tests.lanes import runnable_targets
from tests.networks import seeded
from tests.quantized import OPS, QuantizedCnn, QuantizedMlp, fake_quantize

NO_CACHE = Options(use_cache=False)

TOLERANCE = 1e-5
"""Largest difference relative to the largest value."""

MOST_FLIPPED = 0.002
"""Elements that may be a step away: sums are added in another order than torch adds
them, and what lies between two steps is rounded to the other one."""

INPUTS: dict[Callable[[], nn.Module], torch.Tensor] = {
    QuantizedCnn: sample(2, 3, 17, 19),
    QuantizedMlp: sample(9, 33),
}


def eager(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("make", INPUTS)
@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_layers_of_both_kinds(
    make: Callable[[], nn.Module], target: edgec.Target
) -> None:
    model, x = seeded(make), INPUTS[make]
    compiled = edgec.compile(model, x, target=target, threads=1, options=NO_CACHE)
    expected = eager(model, x)
    limit = TOLERANCE * float(expected.abs().max())
    difference = (compiled(x) - expected).abs()
    # The steps of the last activation, which are the largest that a flip can make.
    flipped = difference > limit
    assert difference.max() <= 0.003 + limit
    assert float(flipped.float().mean()) <= MOST_FLIPPED


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 90])
@pytest.mark.parametrize("scale", [0.1, 0.031, 1 / 3, 2.0**-7, 1e-5, 7e4])
def test_activations_are_exact(scale: float, zero_point: int) -> None:
    model = Call(lambda x: fake_quantize(x, scale, zero_point))
    # Also what lies in the middle between two steps, and far outside.
    middle = (torch.arange(-300, 300) + 0.5) * scale
    x = torch.cat([middle, sample(301) * scale * 60, torch.tensor([0.0, -0.0, 1e30])])
    found = edgec.compile(model, x, threads=1, options=NO_CACHE)(x)
    assert found.numpy().tobytes() == eager(model, x).numpy().tobytes()


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_activations_per_channel_are_exact(axis: int) -> None:
    x = sample(4, 5, 6, 7)
    scale = torch.linspace(0.01, 0.3, x.shape[axis])
    zero_point = torch.arange(x.shape[axis]) * 9 - 30

    def call(x: torch.Tensor) -> Any:
        args = (scale, zero_point, axis, -128, 127, torch.int8)
        return OPS.dequantize_per_channel(OPS.quantize_per_channel(x, *args), *args)

    model = Call(call).eval()
    found = edgec.compile(model, x, threads=1, options=NO_CACHE)(x)
    assert torch.equal(found, eager(model, x))


@pytest.mark.parametrize("name", ["choose_qparams.tensor", "per_token", "asymmetric"])
def test_scales_at_run_time(name: str) -> None:
    ends = (-128, 127, torch.int8)

    def call(x: torch.Tensor) -> Any:
        if name == "choose_qparams.tensor":
            args = (*OPS.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8), *ends)
            return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *args), *args)
        symmetric = OPS.choose_qparams_per_token
        asymmetric = OPS.choose_qparams_per_token_asymmetric
        choose = symmetric if name == "per_token" else asymmetric
        args = (*choose(x, torch.int8), *ends)
        q = OPS.quantize_per_token(x, *args)
        return OPS.dequantize_per_token(q, *args, torch.float32)

    layer = seeded(lambda: nn.Linear(48, 24))
    model, x = Call(lambda x: layer(call(x))).eval(), sample(7, 48) + 0.3
    expected = eager(model, x)
    found = edgec.compile(model, x, threads=1, options=NO_CACHE)(x)
    limit = TOLERANCE * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=limit)


def test_a_saved_model(tmp_path: Path) -> None:
    model, x = seeded(QuantizedMlp), INPUTS[QuantizedMlp]
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "mlp.pt2")
    saved = edgec.compile(tmp_path / "mlp.pt2", threads=1, options=NO_CACHE)
    direct = edgec.compile(model, x, threads=1, options=NO_CACHE)
    torch.testing.assert_close(saved(x), direct(x), rtol=0, atol=0)


def test_pruned_weights_stay_sparse() -> None:
    """Symmetric weights keep their zeros, and are encoded like others."""
    torch.manual_seed(0)
    # The first convolution of a model stays dense.
    layer = nn.Conv2d(32, 64, 3, padding=1)
    dense = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), layer)
    example = sample(1, 32, 14, 14)
    edgec.compress.prune(dense, "pattern", density=0.125)
    weight = layer.weight.detach()
    scale = weight.flatten(1).abs().amax(1) / 127
    zeros = torch.zeros(64, dtype=torch.int32)
    q = OPS.quantize_per_channel(weight, scale, zeros, 0, -127, 127, torch.int8)

    def call(x: torch.Tensor) -> torch.Tensor:
        args = (scale, zeros, 0, -127, 127, torch.int8)
        w = OPS.dequantize_per_channel(q, *args)
        y = functional.conv2d(fake_quantize(x, 0.03, 0), w, padding=1)
        return functional.relu(y)

    model = Call(call)
    options = Options(use_cache=False, integers="never")
    compiled = edgec.compile(model, example, threads=1, options=options)
    assert compiled.report().layers[0].scheme == "pattern"
    expected = eager(model, example)
    limit = TOLERANCE * float(expected.abs().max())
    torch.testing.assert_close(compiled(example), expected, rtol=0, atol=limit)


def test_quantized_after_training_by_torchao(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    model, x = (
        seeded(
            lambda: nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 16, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(16, 10),
            )
        ),
        sample(2, 3, 16, 16),
    )
    quantized = pt2e(model, x)
    expected = eager(quantized, x)
    assert not torch.equal(expected, eager(model, x))
    path = tmp_path / "quantized.pt2"
    torch.export.save(torch.export.export(quantized, (x,)), path)
    limit = TOLERANCE * float(expected.abs().max())
    for compiled in (
        edgec.compile(quantized, x, threads=1, options=NO_CACHE),
        edgec.compile(path, threads=1, options=NO_CACHE),
    ):
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=limit)


def pt2e(model: nn.Module, x: torch.Tensor) -> Any:
    """`model` quantized by PT2E for x86, calibrated on random numbers."""
    # By name, since the package need not be there.
    steps = import_module("torchao.quantization.pt2e.quantize_pt2e")
    x86 = import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    program = torch.export.export(model, (x,))
    prepared = steps.prepare_pt2e(program.module(), quantizer)
    for seed in range(3):
        prepared(sample(*x.shape, seed=seed))
    return steps.convert_pt2e(prepared)
