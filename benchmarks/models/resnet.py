"""ResNet-18 and ResNet-50 (He et al. 2015), stride on the 3×3 as in version 1.5."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.models.layers import ResidualBranch, conv_norm_act


class Residual(nn.Module):
    """`relu(branch(x) + shortcut(x))`."""

    def __init__(self, branch: ResidualBranch, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H / stride, W / stride)`."""
        return self.activation(self.branch(x) + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return conv_norm_act(inputs, outputs, 1, stride=stride, activation=None)


def _basic(inputs: int, width: int, stride: int) -> Residual:
    branch = ResidualBranch(
        conv_norm_act(inputs, width, 3, stride=stride),
        conv_norm_act(width, width, 3, activation=None),
    )
    return Residual(branch, _shortcut(inputs, width, stride))


def _bottleneck(inputs: int, width: int, stride: int) -> Residual:
    branch = ResidualBranch(
        conv_norm_act(inputs, width, 1),
        conv_norm_act(width, width, 3, stride=stride),
        conv_norm_act(width, 4 * width, 1, activation=None),
    )
    return Residual(branch, _shortcut(inputs, 4 * width, stride))


def _features(counts: tuple[int, int, int, int], *, expansion: int) -> nn.Sequential:
    """Return stem and four stages; `expansion` is 1 (basic) or 4 (bottleneck)."""
    block = _bottleneck if expansion == 4 else _basic
    modules: list[nn.Module] = [
        conv_norm_act(3, 64, 7, stride=2),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            modules.append(block(inputs, width, stride))
            inputs = expansion * width
    return nn.Sequential(*modules)


def _classifier(features: nn.Sequential, channels: int) -> nn.Sequential:
    return nn.Sequential(
        features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)
    )


def resnet18() -> nn.Sequential:
    """Return ResNet-18: `(N, 3, H, W)` to `(N, 1000)`."""
    return _classifier(_features((2, 2, 2, 2), expansion=1), 512)


def resnet50_features() -> nn.Sequential:
    """Return ResNet-50's convolutions: `(N, 3, H, W)` to `(N, 2048, H/32, W/32)`."""
    return _features((3, 4, 6, 3), expansion=4)


def resnet50() -> nn.Sequential:
    """Return ResNet-50: `(N, 3, H, W)` to `(N, 1000)`."""
    return _classifier(resnet50_features(), 2048)
