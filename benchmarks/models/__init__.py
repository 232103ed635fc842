"""Published networks in plain torch, with random weights.

The structures and parameter counts are those of the papers and of the weights that are
commonly distributed; the values are random, since only time and numeric agreement are
measured here, never accuracy. `build` is reproducible: same seed, same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.models import (
    densenet,
    efficientnet,
    googlenet,
    inception,
    mobilenet,
    recurrent,
    resnet,
    shufflenet,
    squeezenet,
    transformer,
    unet,
    vgg,
    video,
    yolo,
)
from benchmarks.models.layers import randomize
from edgec.errors import InvalidInput

__all__ = ["MODELS", "ModelSpec", "model_spec"]


@dataclass(frozen=True)
class ModelSpec:
    """One network of the table.

    `structure` makes the modules with torch's default weights (use it on the meta
    device to count parameters); `input_shape` is the shape of the one input.
    """

    structure: Callable[[], nn.Module]
    input_shape: tuple[int, ...] = (1, 3, 224, 224)

    def build(self, seed: int = 0) -> nn.Module:
        """Return the network in eval mode with random weights drawn from `seed`."""
        with torch.device("meta"):
            model = self.structure()
        model.to_empty(device="cpu")
        randomize(model, seed)
        return model.eval().requires_grad_(requires_grad=False)

    def example_input(self, seed: int = 0) -> Tensor:
        """Return a standard-normal float32 input of `input_shape`."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.input_shape, generator=generator)


CLIP = (1, 3, 16, 112, 112)
"""16 frames, as both networks on clips take them."""

TOKENS = (1, 128, transformer.WIDTH)
"""Embedded tokens, as both transformers take them."""

MODELS: dict[str, ModelSpec] = {
    "bert_base": ModelSpec(transformer.bert_base, TOKENS),
    "c3d": ModelSpec(video.c3d, CLIP),
    "densenet121": ModelSpec(densenet.densenet121),
    "efficientnet_b0": ModelSpec(efficientnet.efficientnet_b0),
    "googlenet": ModelSpec(googlenet.googlenet),
    "gpt2": ModelSpec(transformer.gpt2, TOKENS),
    "gru_2x1024": ModelSpec(recurrent.SpeechGru, (100, 1, recurrent.FEATURES)),
    "gru_2x1024_frame": ModelSpec(recurrent.SpeechGru, (1, 1, recurrent.FEATURES)),
    "inception_v3": ModelSpec(inception.inception_v3, (1, 3, 299, 299)),
    "mobilenet_v2": ModelSpec(mobilenet.mobilenet_v2),
    "mobilenet_v3_large": ModelSpec(mobilenet.mobilenet_v3_large),
    "mobilenet_v3_small": ModelSpec(mobilenet.mobilenet_v3_small),
    "r2plus1d_18": ModelSpec(video.r2plus1d_18, CLIP),
    "resnet18": ModelSpec(resnet.resnet18),
    "resnet50": ModelSpec(resnet.resnet50),
    "resnet50_features": ModelSpec(resnet.resnet50_features),
    "shufflenet_v2_x1": ModelSpec(shufflenet.shufflenet_v2_x1),
    "squeezenet1_1": ModelSpec(squeezenet.squeezenet1_1),
    "unet": ModelSpec(unet.unet, (1, 3, 256, 256)),
    "vgg16": ModelSpec(vgg.vgg16),
    "vgg16_features": ModelSpec(vgg.vgg16_features),
    "yolo_small": ModelSpec(yolo.yolo_small, (1, 3, 416, 416)),
}
"""Every network by the name that `--models` takes."""


def model_spec(name: str) -> ModelSpec:
    """Return the entry called `name`; raise `InvalidInput` if there is none."""
    try:
        return MODELS[name]
    except KeyError:
        raise InvalidInput(
            f"no model named '{name}'; known are {', '.join(MODELS)}"
        ) from None
