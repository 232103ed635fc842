"""Building blocks that several of the networks share, and their random weights.

`conv_norm_act` is convolution, batch norm, activation. `ResidualBranch` marks the part
of a block that is added to its input, so that `randomize` can keep the sum small.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgec.errors import InvalidInput

Activation = Callable[[], nn.Module]
"""Makes one activation module."""

Weighted = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear
"""Modules with random weights of their own."""

Norm = nn.BatchNorm2d | nn.BatchNorm3d
"""Modules with random statistics."""

RESIDUAL_GAIN = 0.3
"""Factor on the last scale of a residual branch: fifty blocks then stay bounded."""


def relu() -> nn.Module:
    """Return a ReLU that works in place, as the published networks have it."""
    return nn.ReLU(inplace=True)


class ResidualBranch(nn.Sequential):
    """A chain of modules whose result is added to the chain's own input."""


class Concat(nn.Module):
    """Run every branch on the same input and join the results along channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, sum of the branches' C, H', W')`."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def conv_norm_act(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] | None = None,
    groups: int = 1,
    activation: Activation | None = relu,
) -> nn.Sequential:
    """Return convolution (no bias), batch norm and, unless None, an activation.

    `padding` defaults to half of the kernel, which keeps the size at stride 1.
    """
    kernel_hw = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = (kernel_hw[0] // 2, kernel_hw[1] // 2)
    conv = nn.Conv2d(
        inputs, outputs, kernel_hw, stride, padding, groups=groups, bias=False
    )
    modules: list[nn.Module] = [conv, nn.BatchNorm2d(outputs)]
    if activation is not None:
        modules.append(activation())
    return nn.Sequential(*modules)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the channel means."""

    def __init__(
        self, channels: int, squeezed: int, activation: Activation, gate: Activation
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            activation(),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        return x * self.gate(self.pool(x))


def round_channels(channels: float, multiple: int = 8) -> int:
    """Round to the nearest multiple, but never down by more than 10 %.

    Source: MobileNetV2 (Sandler et al. 2018), reference implementation's rule.
    """
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


def set_norm_eps(model: nn.Module, eps: float) -> None:
    """Set the epsilon of every batch norm; some families train with a larger one."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


@torch.no_grad()
def randomize(model: nn.Module, seed: int) -> None:
    """Fill every parameter and running statistic with reproducible random values.

    Nothing is read, so the memory may be uninitialised. A module with parameters of its
    own that is none of the kinds below is an error.

    Convolutions and linear layers get He-normal weights, recurrent layers uniform ones
    as in torch. Norms get scales in [0.5, 1.5] and shifts in [-0.1, 0.1], batch norms
    also such variances and means, so that folding them changes the weights; the last
    scale of a `ResidualBranch` is multiplied by `RESIDUAL_GAIN`.
    Activations then neither overflow nor die out, whatever the depth.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, Weighted):
            _randomize_weights(module, generator)
        elif isinstance(module, Norm):
            _randomize_norm(module, generator)
        elif isinstance(module, nn.RNNBase):
            _randomize_recurrent(module, generator)
        elif isinstance(module, nn.LayerNorm):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.uniform_(-0.1, 0.1, generator=generator)
        elif list(module.parameters(recurse=False)):
            raise InvalidInput(f"no random weights for a {type(module).__name__}")
    for module in model.modules():
        if isinstance(module, ResidualBranch):
            norms = [m for m in module.modules() if isinstance(m, Norm)]
            norms[-1].weight.mul_(RESIDUAL_GAIN)


def _randomize_weights(module: Weighted, generator: torch.Generator) -> None:
    fan_in = module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        fan_in = module.in_channels  # stride = kernel: one tap meets each output
    module.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
    if module.bias is not None:
        module.bias.uniform_(-0.1, 0.1, generator=generator)


def _randomize_recurrent(module: nn.RNNBase, generator: torch.Generator) -> None:
    """Uniform in +-1 / sqrt(hidden), as in torch: states do not saturate."""
    bound = module.hidden_size**-0.5
    for parameter in module.parameters():
        parameter.uniform_(-bound, bound, generator=generator)


def _randomize_norm(module: Norm, generator: torch.Generator) -> None:
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked.zero_()
    module.running_mean.uniform_(-0.1, 0.1, generator=generator)
    module.running_var.uniform_(0.5, 1.5, generator=generator)
    module.weight.uniform_(0.5, 1.5, generator=generator)
    module.bias.uniform_(-0.1, 0.1, generator=generator)
