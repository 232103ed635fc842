"""Every op family: a small module, imported and interpreted, gives eager's numbers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  the name it has everywhere
from torch import nn

from edgec.importer.aten import TABLE
from tests.importing import Call, check, randomized, sample

CONVS = {
    "1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "2d": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5)),
    "2d-no-bias-dilated": (nn.Conv2d(3, 4, 3, dilation=2, bias=False), (1, 3, 8, 7)),
    "2d-same": (nn.Conv2d(3, 4, (2, 5), padding="same"), (1, 3, 6, 6)),
    "2d-valid": (nn.Conv2d(3, 4, 3, padding="valid", stride=2), (1, 3, 7, 6)),
    "2d-groups": (nn.Conv2d(4, 6, 3, groups=2, padding=(0, 1)), (1, 4, 5, 5)),
    "2d-depthwise": (nn.Conv2d(4, 8, 3, groups=4), (3, 4, 5, 5)),
    "2d-reflect": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (1, 2, 5, 4)),
    "2d-circular": (
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
        (1, 2, 5, 4),
    ),
    "2d-no-batch": (nn.Conv2d(3, 4, 3), (3, 6, 5)),
    "3d": (nn.Conv3d(2, 3, 2, padding=1), (1, 2, 3, 4, 3)),
    "3d-strided-groups": (
        nn.Conv3d(4, 6, (1, 3, 2), stride=(1, 2, 1), padding=(0, 1, 2), groups=2),
        (2, 4, 3, 5, 4),
    ),
    "3d-same": (nn.Conv3d(2, 3, (1, 3, 5), padding="same"), (1, 2, 3, 4, 6)),
    "3d-no-batch": (nn.Conv3d(2, 3, 2), (2, 3, 4, 3)),
    "transposed-3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 2, 2)),
    "transposed-1d": (nn.ConvTranspose1d(4, 3, 3, stride=2), (1, 4, 5)),
    "transposed-2d": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 3, 4),
    ),
    "transposed-2d-dilated": (nn.ConvTranspose2d(2, 3, 2, dilation=2), (1, 2, 3, 4)),
}

NORMS = {
    "batch-1d": (nn.BatchNorm1d(4), (3, 4)),
    "batch-1d-long": (nn.BatchNorm1d(4), (3, 4, 5)),
    "batch-2d": (nn.BatchNorm2d(4, eps=1e-3), (2, 4, 3, 3)),
    "batch-3d": (nn.BatchNorm3d(4), (2, 4, 3, 2, 3)),
    "batch-no-affine": (nn.BatchNorm2d(4, affine=False), (2, 4, 3, 3)),
    "batch-no-statistics": (
        nn.BatchNorm2d(4, track_running_stats=False),
        (2, 4, 3, 3),
    ),
    "layer": (nn.LayerNorm([4, 5]), (2, 3, 4, 5)),
    "layer-no-affine": (nn.LayerNorm(5, elementwise_affine=False), (2, 5)),
    "group": (nn.GroupNorm(2, 6), (2, 6, 3, 3)),
    "group-no-affine": (nn.GroupNorm(3, 6, affine=False), (2, 6, 4)),
    "instance": (nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 4)),
    "instance-1d": (nn.InstanceNorm1d(3), (2, 3, 7)),
    "instance-tracked": (nn.InstanceNorm2d(3, track_running_stats=True), (2, 3, 4, 4)),
    "rms": (nn.RMSNorm(6), (2, 6)),
    "local-response": (nn.LocalResponseNorm(3), (1, 5, 3, 3)),
}

ACTIVATIONS = {
    type(module).__name__ + str(i): module
    for i, module in enumerate(
        (
            nn.ReLU(),
            nn.ReLU(inplace=True),
            nn.ReLU6(),
            nn.LeakyReLU(0.2),
            nn.RReLU(),
            nn.ELU(0.7),
            nn.SELU(),
            nn.CELU(0.6),
            nn.SiLU(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.Hardswish(),
            nn.Hardsigmoid(),
            nn.Hardtanh(-0.5, 0.25),
            nn.Sigmoid(),
            nn.LogSigmoid(),
            nn.Tanh(),
            nn.Tanhshrink(),
            nn.Softplus(2.0, 1.0),
            nn.Softshrink(0.3),
            nn.Softsign(),
            nn.Mish(),
            nn.PReLU(),
            nn.PReLU(4, init=0.3),
            nn.Softmax(dim=1),
            nn.Softmax(dim=-1),
            nn.Softmin(dim=1),
            nn.LogSoftmax(dim=-2),
            nn.GLU(dim=1),
            nn.Dropout(0.5),
            nn.Dropout2d(0.5),
            nn.AlphaDropout(0.5),
            nn.Identity(),
        )
    )
}

POOLS = {
    "max-1d": (nn.MaxPool1d(3, 2, 1), (1, 2, 8)),
    "max-2d": (nn.MaxPool2d(3, 2, 1), (2, 3, 8, 7)),
    "max-2d-ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (1, 3, 8, 9)),
    "max-2d-dilated": (nn.MaxPool2d(2, 1, dilation=2), (1, 2, 5, 6)),
    "max-3d": (nn.MaxPool3d(2), (1, 2, 4, 5, 4)),
    "max-2d-no-batch": (nn.MaxPool2d(2), (2, 5, 4)),
    "avg-1d": (nn.AvgPool1d(3, 2, 1), (1, 2, 9)),
    "avg-2d": (nn.AvgPool2d(3, 2, 1), (1, 2, 8, 7)),
    "avg-2d-ceil": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 2, 8, 8)),
    "avg-2d-ceil-inside": (
        nn.AvgPool2d(2, 3, 1, ceil_mode=True, count_include_pad=False),
        (1, 2, 8, 9),
    ),
    "avg-2d-inside": (nn.AvgPool2d(3, 1, 1, count_include_pad=False), (1, 2, 5, 5)),
    "avg-2d-divisor": (nn.AvgPool2d(2, divisor_override=3), (1, 2, 5, 6)),
    "avg-3d": (nn.AvgPool3d(2, 1), (1, 2, 3, 4, 3)),
    "adaptive-avg-1d": (nn.AdaptiveAvgPool1d(3), (1, 2, 7)),
    "adaptive-avg-2d": (nn.AdaptiveAvgPool2d((3, 2)), (2, 2, 7, 5)),
    "adaptive-avg-2d-1": (nn.AdaptiveAvgPool2d(1), (1, 2, 7, 5)),
    "adaptive-avg-2d-none": (nn.AdaptiveAvgPool2d((None, 2)), (1, 2, 3, 5)),
    "adaptive-avg-3d": (nn.AdaptiveAvgPool3d(2), (1, 2, 3, 4, 5)),
    "adaptive-max-1d": (nn.AdaptiveMaxPool1d(3), (1, 2, 7)),
    "adaptive-max-2d": (nn.AdaptiveMaxPool2d(3), (1, 2, 7, 5)),
    "lp-2d": (nn.LPPool2d(2, 2), (1, 2, 4, 4)),
}

LINEARS: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
    "linear": (nn.Linear(5, 3), ((2, 5),)),
    "linear-no-bias-3d": (nn.Linear(5, 3, bias=False), ((2, 4, 5),)),
    "linear-vector": (nn.Linear(5, 3), ((5,),)),
    "linear-computed": (Call(F.linear), ((2, 4, 5), (3, 5), (3,))),
    "linear-computed-vector": (Call(F.linear), ((5,), (3, 5), (3,))),
    "linear-computed-no-bias": (Call(F.linear), ((4, 5), (3, 5))),
    "conv-computed-bias": (
        Call(lambda x, b: F.conv2d(x, torch.ones(2, 3, 2, 2), b)),
        ((2, 3, 4, 3), (2,)),
    ),
    "conv-computed-bias-no-batch": (
        Call(lambda x, b: F.conv_transpose1d(x, torch.ones(3, 2, 2), b)),
        ((3, 4), (2,)),
    ),
    "matmul": (Call(torch.matmul), ((2, 1, 3, 4), (5, 4, 2))),
    "matmul-vectors": (Call(torch.matmul), ((4,), (4,))),
    "matmul-vector-right": (Call(torch.matmul), ((2, 3, 4), (4,))),
    "matmul-vector-left": (Call(torch.matmul), ((4,), (2, 4, 3))),
    "mm": (Call(torch.mm), ((2, 3), (3, 4))),
    "mv": (Call(torch.mv), ((2, 3), (3,))),
    "bmm": (Call(torch.bmm), ((2, 3, 4), (2, 4, 2))),
    "addmm": (Call(torch.addmm), ((4,), (2, 3), (3, 4))),
    "addmm-scaled": (
        Call(lambda a, b, c: torch.addmm(a, b, c, beta=0.5, alpha=2)),
        ((2, 4), (2, 3), (3, 4)),
    ),
    "baddbmm": (Call(torch.baddbmm), ((2, 3, 2), (2, 3, 4), (2, 4, 2))),
    "einsum": (
        Call(lambda a, b: torch.einsum("bij,bkj->bik", a, b)),
        ((2, 3, 4), (2, 5, 4)),
    ),
}


def _relu_after_a_view(x: torch.Tensor) -> Any:
    y = x + 1
    view = y[:, 0]
    y.relu_()
    return y, view


def _add_after_relu(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    z = y.relu_()
    y.add_(x)
    return y * z


_UPPER = torch.ones(3, 4, dtype=torch.bool).triu(1)


FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "neg": lambda x: -x,
    "abs": torch.abs,
    "sqrt": lambda x: torch.sqrt(x.abs() + 0.1),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 0.1),
    "exp": torch.exp,
    "exp2": torch.exp2,
    "log": lambda x: torch.log(x.abs() + 0.1),
    "log2": lambda x: torch.log2(x.abs() + 0.1),
    "log10": lambda x: torch.log10(x.abs() + 0.1),
    "reciprocal": lambda x: (x.abs() + 1).reciprocal(),
    "erf": torch.erf,
    "sin-cos-tan": lambda x: x.sin() + x.cos() * (x / 4).tan(),
    "rounding": lambda x: x.floor() + x.ceil() * 2 + x.round() * 3 + x.sign() * 4,
    "square": torch.square,
    "add-alpha": lambda x: torch.add(x, x * 2, alpha=3),
    "sub-alpha": lambda x: torch.sub(x, x * 2, alpha=3),
    "rsub": lambda x: 2 - x,
    "rsub-alpha": lambda x: torch.rsub(x, 2.0, alpha=3),
    "mul-scalar": lambda x: x * 0.1,
    "div": lambda x: x / (x.abs() + 1) / 3,
    "div-floor": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "div-trunc": lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
    "remainder": lambda x: torch.remainder(x, 0.7),
    "min-max": lambda x: torch.minimum(x, x * x) + torch.maximum(x, x * x),
    "pow": lambda x: (
        x.pow(1) + x.pow(2) + x**3 + x**4 + x.abs().pow(0.5) + (x.abs() + 1) ** -1
    ),
    "pow-tensor": lambda x: x.abs().pow(x) + 2**x,
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0) * 2 + x.clamp(max=0.2),
    "clamp-min": lambda x: x.clamp_min(0.1) + torch.clamp(x, x * 0.5, x * x),
    "broadcast": lambda x: x + x[:, :1] * x[..., :1] - x[0],
    "number-tensor": lambda x: x * torch.tensor(2.5) + torch.tensor([1, 2, 3, 4]),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "mean": lambda x: (x.mean(), x.mean(1), x.mean((-1, 0), keepdim=True)),
    "sum": lambda x: (x.sum(), x.sum(2), x.sum((0, 1), keepdim=True)),
    "prod": lambda x: (x.prod(), x.prod(1)),
    "amax-amin": lambda x: (x.amax(1), x.amin((0, 2)), x.amax()),
    "max-min": lambda x: (x.max(), x.min(), *x.max(1), *x.min(2, keepdim=True)),
    "argmax": lambda x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True)),
    "var-std": lambda x: (x.var(), x.var(1), x.std((0, 2), correction=0), x.std()),
    "var-mean": lambda x: torch.var_mean(x, dim=(1, 2), keepdim=True),
    "norms": lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, 1, 2)),
    "normalize": lambda x: F.normalize(x, dim=1),
    "logsumexp": lambda x: x.logsumexp(1) + x.logsumexp((1,)),
    "reshape": lambda x: (x.reshape(-1), x.view(2, 12), x.flatten(1), x.view_as(x)),
    "unflatten": lambda x: x.unflatten(2, (2, -1)),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(-1).squeeze(),
    "permute": lambda x: (x.permute(2, 0, -2), x.transpose(-1, 0), x[0].t(), x.mT),
    "movedim": lambda x: (
        x.movedim(0, -1),
        x.movedim((0, 1), (2, 0)),
        x.swapaxes(0, 1),
    ),
    "cat": lambda x: (torch.cat([x, x * 2], -1), torch.cat([x, torch.zeros(0)])),
    "stack": lambda x: (torch.stack([x, x * 2], 1), torch.hstack([x, x])),
    "split": lambda x: (*x.split(3, 2), *x.split([1, 3], -1), *x.chunk(2, 1)),
    "tensor-split": lambda x: torch.tensor_split(x, 3, dim=2),
    "unbind": lambda x: sum(x.unbind(1)),
    "slice": lambda x: (x[:, 1:], x[..., -3:-1], x[:, ::2], x[:, 0:100:2, 1:3]),
    "select": lambda x: (x[0], x[:, -1], x.select(2, 1)),
    "narrow": lambda x: x.narrow(2, 1, 2),
    "expand": lambda x: (x[:, :1].expand(2, 5, 4), x[0].expand_as(x)),
    "repeat": lambda x: (x.repeat(1, 2, 3), x.repeat(2, 1, 1, 1), x.tile((2,))),
    "repeat-interleave": lambda x: x.repeat_interleave(2, dim=1),
    "roll": lambda x: (x.roll(1, 2), x.roll((1, -1), (0, 2)), x.roll(3)),
    "pad": lambda x: (F.pad(x, (1, 2), value=0.5), F.pad(x, (-1, 1, 2, 0))),
    "pad-reflect": lambda x: F.pad(x, (1, 2), mode="reflect"),
    "pad-replicate": lambda x: F.pad(x, (1, 2), mode="replicate"),
    "pad-circular": lambda x: F.pad(x, (1, 2), mode="circular"),
    "fill": lambda x: x + torch.zeros_like(x) + x.new_ones(4) + torch.full((4,), 0.5),
    "no-ops": lambda x: x.contiguous().clone().detach().to(torch.float32).float() * 1,
    "cat-mixed": lambda x: torch.cat([x[0], torch.ones(1, 4, dtype=torch.int64)]),
    "dead": lambda x: (x.max(1)[0], x.sin())[0],
    "cast": lambda x: x.argmax(1).float() * 2 + (x[:, 0] * 3).long().to(torch.float32),
    "constant-range": lambda x: x + torch.arange(4) + torch.linspace(0, 1, 4),
    "in-place": lambda x: (x + 1).mul_(2).relu_().add_(x).clamp_(max=4.0).sigmoid_(),
    "in-place-view": lambda x: (x + 1).view(-1).mul_(2).view_as(x).add_(1),
    "in-place-earlier-view": _relu_after_a_view,
    "in-place-twice": _add_after_relu,
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "attention-causal": lambda x: F.scaled_dot_product_attention(
        x, x * 2, x + 1, attn_mask=None, is_causal=True, scale=0.3
    ),
    "masked-fill": lambda x: (
        x.masked_fill(_UPPER, 0.3),
        x.masked_fill(_UPPER, -torch.inf),
        x.masked_fill(_UPPER, torch.tensor(torch.inf).item()),
        x[0].masked_fill(torch.ones(2, 3, 4).triu().bool(), torch.tensor(2.0)),
    ),
    "where": lambda x: (
        torch.where(_UPPER, x, -1e9),
        torch.where(_UPPER, 0.5, x),
        torch.where(_UPPER, x, torch.tensor(-3.4e38)),
    ),
    "attention-mask": lambda x: F.scaled_dot_product_attention(x, x, x, x @ x.mT),
}

IMAGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest-size": lambda x: F.interpolate(x, size=(7, 3)),
    "nearest-scale": lambda x: F.interpolate(x, scale_factor=(1.7, 0.6)),
    "nearest-1d": lambda x: F.interpolate(x[:, :, 0], scale_factor=3),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear-size": lambda x: F.interpolate(x, size=(7, 3), mode="bilinear"),
    "bilinear-corners": lambda x: F.interpolate(
        x, size=(9, 1), mode="bilinear", align_corners=True
    ),
    "linear": lambda x: F.interpolate(x[:, :, 0], scale_factor=2, mode="linear"),
    "linear-corners": lambda x: F.interpolate(
        x[:, :, 0], size=9, mode="linear", align_corners=True
    ),
    "pixel-shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel-unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel-shuffle": lambda x: F.channel_shuffle(x, 4),
    "shuffle-by-hand": lambda x: x.view(1, 2, 4, 4, 6).transpose(1, 2).reshape(x.shape),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVS)
def test_convolutions(name: str) -> None:
    model, shape = CONVS[name]
    check(model, sample(*shape))


@pytest.mark.parametrize("name", NORMS)
def test_normalizations(name: str) -> None:
    model, shape = NORMS[name]
    check(randomized(model), sample(*shape))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    check(nn.Sequential(Call(torch.clone), ACTIVATIONS[name]), sample(2, 4, 3, 2) * 2)


@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str) -> None:
    model, shape = POOLS[name]
    check(model, sample(*shape))


@pytest.mark.parametrize("name", LINEARS)
def test_matrix_products(name: str) -> None:
    model, shapes = LINEARS[name]
    check(model, *(sample(*shape, seed=i) for i, shape in enumerate(shapes)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check(Call(FUNCTIONS[name]), sample(2, 3, 4))


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    check(Call(IMAGES[name]), sample(1, 8, 4, 6))


def test_dead_ops_are_left_out() -> None:
    text = str(check(Call(FUNCTIONS["dead"]), sample(2, 3, 4)).module)
    assert "argmax" not in text
    assert "sin" not in text.replace("nn.source", "")


def test_every_rule_takes_the_arguments_of_its_overload() -> None:
    import inspect

    import_module("torch.ao.quantization.fx._decomposed")
    for name, rule in TABLE.items():
        namespace, op, overload = name.split(".")
        packet = getattr(getattr(torch.ops, namespace), op, None)
        if packet is None or overload not in packet.overloads():
            raise AssertionError(f"{name} is no overload of this torch")
        schema = getattr(packet, overload)._schema
        signature = inspect.signature(rule.build)
        positional = [None for a in schema.arguments if not a.kwarg_only]
        keywords = {a.name: None for a in schema.arguments if a.kwarg_only}
        signature.bind(None, *positional, **keywords)
