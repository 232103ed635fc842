"""MobileNetV2 (Sandler et al. 2018) and V3 large and small (Howard et al. 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.models.layers import (
    Activation,
    ResidualBranch,
    SqueezeExcite,
    conv_norm_act,
    relu,
    round_channels,
    set_norm_eps,
)

V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion factor, channels, repeats, first stride (table 2 of the V2 paper)."""

V3_LARGE = (
    (3, 16, 16, False, "RE", 1),
    (3, 64, 24, False, "RE", 2),
    (3, 72, 24, False, "RE", 1),
    (5, 72, 40, True, "RE", 2),
    (5, 120, 40, True, "RE", 1),
    (5, 120, 40, True, "RE", 1),
    (3, 240, 80, False, "HS", 2),
    (3, 200, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 480, 112, True, "HS", 1),
    (3, 672, 112, True, "HS", 1),
    (5, 672, 160, True, "HS", 2),
    (5, 960, 160, True, "HS", 1),
    (5, 960, 160, True, "HS", 1),
)
"""Kernel, expanded channels, channels, squeeze-excite, activation, stride (table 1)."""

V3_SMALL = (
    (3, 16, 16, True, "RE", 2),
    (3, 72, 24, False, "RE", 2),
    (3, 88, 24, False, "RE", 1),
    (5, 96, 40, True, "HS", 2),
    (5, 240, 40, True, "HS", 1),
    (5, 240, 40, True, "HS", 1),
    (5, 120, 48, True, "HS", 1),
    (5, 144, 48, True, "HS", 1),
    (5, 288, 96, True, "HS", 2),
    (5, 576, 96, True, "HS", 1),
    (5, 576, 96, True, "HS", 1),
)
"""The same columns for the small network (table 2 of the V3 paper)."""

V3_EPS = 1e-3
"""Batch-norm epsilon of V3."""


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; added to the input where shapes agree."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        activation: Activation,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        if expanded != inputs:
            modules.append(conv_norm_act(inputs, expanded, 1, activation=activation))
        modules.append(
            conv_norm_act(
                expanded,
                expanded,
                kernel,
                stride=stride,
                groups=expanded,
                activation=activation,
            )
        )
        if gate is not None:
            modules.append(gate)
        modules.append(conv_norm_act(expanded, outputs, 1, activation=None))
        self.is_residual = stride == 1 and inputs == outputs
        chain = ResidualBranch if self.is_residual else nn.Sequential
        self.branch = chain(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H / stride, W / stride)`."""
        return x + self.branch(x) if self.is_residual else self.branch(x)


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


def _hardswish() -> nn.Module:
    return nn.Hardswish(inplace=True)


def mobilenet_v2() -> nn.Sequential:
    """Return MobileNetV2 at width 1: `(N, 3, H, W)` to `(N, 1000)`."""
    modules: list[nn.Module] = [conv_norm_act(3, 32, 3, stride=2, activation=_relu6)]
    inputs = 32
    for expansion, channels, repeats, first_stride in V2_STAGES:
        for index in range(repeats):
            block = InvertedResidual(
                inputs,
                expansion * inputs,
                channels,
                stride=first_stride if index == 0 else 1,
                activation=_relu6,
            )
            modules.append(block)
            inputs = channels
    return nn.Sequential(
        *modules,
        conv_norm_act(inputs, 1280, 1, activation=_relu6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1280, 1000),
    )


def _mobilenet_v3(
    table: tuple[tuple[int, int, int, bool, str, int], ...], hidden: int
) -> nn.Sequential:
    stem = conv_norm_act(3, 16, 3, stride=2, activation=_hardswish)
    modules: list[nn.Module] = [stem]
    inputs = 16
    for kernel, expanded, channels, has_gate, nonlinearity, stride in table:
        gate = None
        if has_gate:
            squeezed = round_channels(expanded / 4)
            gate = SqueezeExcite(expanded, squeezed, relu, nn.Hardsigmoid)
        block = InvertedResidual(
            inputs,
            expanded,
            channels,
            kernel=kernel,
            stride=stride,
            activation=_hardswish if nonlinearity == "HS" else relu,
            gate=gate,
        )
        modules.append(block)
        inputs = channels
    last = 6 * inputs
    model = nn.Sequential(
        *modules,
        conv_norm_act(inputs, last, 1, activation=_hardswish),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, hidden),
        _hardswish(),
        nn.Dropout(0.2),
        nn.Linear(hidden, 1000),
    )
    set_norm_eps(model, V3_EPS)
    return model


def mobilenet_v3_large() -> nn.Sequential:
    """Return MobileNetV3-Large: `(N, 3, H, W)` to `(N, 1000)`."""
    return _mobilenet_v3(V3_LARGE, 1280)


def mobilenet_v3_small() -> nn.Sequential:
    """Return MobileNetV3-Small: `(N, 3, H, W)` to `(N, 1000)`."""
    return _mobilenet_v3(V3_SMALL, 1024)
