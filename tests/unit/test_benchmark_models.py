"""The networks of `benchmarks.models` are the published ones, with sane random weights.

Counts and shapes are taken on the meta device, at full resolution and without compute.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.models import MODELS, ModelSpec, model_spec
from benchmarks.models.layers import ResidualBranch, randomize, round_channels
from benchmarks.models.shufflenet import shuffle_channels
from edgec.errors import InvalidInput

PUBLISHED_PARAMETERS = {
    "bert_base": 85_054_464,  # 109_482_240 without embeddings and pooler
    "c3d": 79_991_015,
    "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548,
    "googlenet": 6_624_904,
    "gpt2": 85_056_000,  # 124_439_808 without embeddings
    "inception_v3": 23_834_568,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "r2plus1d_18": 31_505_325,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "shufflenet_v2_x1": 2_278_604,
    "squeezenet1_1": 1_235_496,
    "vgg16": 138_357_544,
    "yolo_small": 7_235_389,
}

OTHER_OUTPUTS = {
    "bert_base": (1, 128, 768),
    "c3d": (1, 487),
    "gpt2": (1, 128, 768),
    "r2plus1d_18": (1, 400),
    "gru_2x1024": (100, 1, 1920),
    "gru_2x1024_frame": (1, 1, 1920),
    "resnet50_features": (1, 2048, 7, 7),
    "unet": (1, 2, 256, 256),
    "vgg16_features": (1, 512, 7, 7),
    "yolo_small": (1, 10647, 85),
}

SMALL_INPUTS = {
    "densenet121": (1, 3, 64, 64),
    "efficientnet_b0": (1, 3, 64, 64),
    "inception_v3": (1, 3, 91, 91),
    "mobilenet_v3_large": (1, 3, 64, 64),
    "r2plus1d_18": (1, 3, 4, 24, 24),
    "resnet50": (1, 3, 64, 64),
    "squeezenet1_1": (1, 3, 48, 48),
    "unet": (1, 3, 32, 32),
    "yolo_small": (1, 3, 64, 64),
}
"""Networks run for real, one per kind of block, at a size that takes milliseconds."""


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name].structure()
    assert _parameters(model) == PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_output_shape_at_full_resolution(name: str) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        output = spec.structure().eval()(torch.empty(spec.input_shape))
    assert tuple(output.shape) == OTHER_OUTPUTS.get(name, (1, 1000))


def test_every_network_is_covered() -> None:
    assert set(MODELS) == set(PUBLISHED_PARAMETERS) | set(OTHER_OUTPUTS)


@pytest.mark.parametrize("name", SMALL_INPUTS)
def test_activations_neither_overflow_nor_die_out(name: str) -> None:
    spec = ModelSpec(MODELS[name].structure, SMALL_INPUTS[name])
    model = spec.build()
    spreads: list[float] = []

    def record(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if output.numel() > 1:
            spreads.append(float(output.std()))

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.register_forward_hook(record)
    with torch.no_grad():
        output = model(spec.example_input())
    assert torch.isfinite(output).all()
    assert output.std() > 1e-2
    assert all(1e-2 < spread < 1e3 for spread in spreads)


def test_same_seed_gives_same_bits() -> None:
    spec = MODELS["mobilenet_v3_small"]
    first, again, other = (spec.build(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(spec.example_input(1), spec.example_input(1))


def test_build_leaves_torch_random_state_alone() -> None:
    before = torch.get_rng_state()
    MODELS["squeezenet1_1"].build(7)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_an_unknown_module_are_refused() -> None:
    with pytest.raises(InvalidInput, match="PReLU"):
        randomize(nn.PReLU(), 0)


def test_batch_norm_is_worth_folding() -> None:
    model = MODELS["resnet18"].build()
    assert not model.training
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            assert module.running_var.std() > 0.05
            assert module.bias.abs().max() > 0.01


def test_residual_branches_are_scaled_down() -> None:
    branches = [
        module
        for module in MODELS["resnet18"].build().modules()
        if isinstance(module, ResidualBranch)
    ]
    assert len(branches) == 8
    for branch in branches:
        norms = [m for m in branch.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms[-1].weight.max() <= 0.45
        assert norms[0].weight.max() > 0.45


def test_shuffle_interleaves_the_halves() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    expected = torch.tensor([0.0, 3.0, 1.0, 4.0, 2.0, 5.0])
    assert torch.equal(shuffle_channels(x).flatten(), expected)


@pytest.mark.parametrize(
    ("channels", "rounded"), [(3, 8), (12, 16), (18, 24), (20, 24), (35, 32)]
)
def test_round_channels(channels: float, rounded: int) -> None:
    assert round_channels(channels) == rounded


def test_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"'resnet51'.*resnet50"):
        model_spec("resnet51")
