"""Networks on clips: R(2+1)D-18 (Tran et al. 2018) and C3D (Tran et al. 2015)."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.models.layers import ResidualBranch, relu


class Residual(nn.Module):
    """`relu(branch(x) + shortcut(x))`."""

    def __init__(self, branch: ResidualBranch, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = relu()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, D, H, W)` to `(N, C', D / stride, H / stride, W / stride)`."""
        return self.activation(self.branch(x) + self.shortcut(x))


def _factored(
    inputs: int, between: int, outputs: int, stride: int, window: int = 3
) -> list[nn.Module]:
    """A convolution in space, then one in time; strides are shared out likewise."""
    return [
        nn.Conv3d(
            inputs,
            between,
            (1, window, window),
            (1, stride, stride),
            (0, window // 2, window // 2),
            bias=False,
        ),
        nn.BatchNorm3d(between),
        relu(),
        nn.Conv3d(between, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(outputs),
    ]


def _block(inputs: int, outputs: int, stride: int) -> Residual:
    """Two factored convolutions with as many weights as two of 3x3x3."""
    between = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
    branch = ResidualBranch(
        *_factored(inputs, between, outputs, stride),
        relu(),
        *_factored(outputs, between, outputs, 1),
    )
    shortcut: nn.Module = nn.Identity()
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
        )
    return Residual(branch, shortcut)


def r2plus1d_18() -> nn.Sequential:
    """Return R(2+1)D-18: `(N, 3, D, H, W)` to `(N, 400)`.

    The stem is that of the distributed weights: 45 filters in space, whose stride of 2
    leaves time as it is, then 64 in time.
    """
    stem = _factored(3, 45, 64, 1, window=7)
    stem[0] = nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    modules: list[nn.Module] = [*stem, relu()]
    inputs = 64
    for stage in range(4):
        width = 64 << stage
        for index in range(2):
            modules.append(_block(inputs, width, 2 if stage and not index else 1))
            inputs = width
    return nn.Sequential(
        *modules, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(512, 400)
    )


def c3d() -> nn.Sequential:
    """Return C3D for the 487 classes of Sports-1M: `(N, 3, 16, 112, 112)` in."""
    modules: list[nn.Module] = []
    inputs = 3
    for stage, widths in enumerate(((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)):
        for width in widths:
            modules += [nn.Conv3d(inputs, width, 3, padding=1), relu()]
            inputs = width
        first, last = stage == 0, stage == 4
        window = (1, 2, 2) if first else (2, 2, 2)
        modules.append(nn.MaxPool3d(window, padding=(0, 1, 1) if last else 0))
    return nn.Sequential(
        *modules,
        nn.Flatten(),
        nn.Linear(8192, 4096),
        relu(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        relu(),
        nn.Dropout(),
        nn.Linear(4096, 487),
    )
