"""What the importer makes of `quantized_decomposed` ops, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgec.dialects import sq
from edgec.dialects.nn import ConstantOp
from edgec.errors import ImportFailed
from edgec.importer import ImportedModel, import_model
from tests.importing import Call, run, sample
from tests.quantized import OPS, QuantizedCnn, fake_quantize

X = sample(4, 6)
ENDS = (-128, 127, torch.int8)
SCALES = torch.tensor([0.01, 0.02, 0.5, 1.0])
ZEROS = torch.tensor([3, 0, -7, 100])


def check(call: Callable[..., Any], *args: torch.Tensor) -> ImportedModel:
    """Bit for bit what torch computes."""
    imported = import_model(Call(call).eval(), args)
    imported.module.verify()
    assert torch.equal(run(imported, args), call(*args))
    return imported


def pair(imported: ImportedModel) -> tuple[sq.QuantType, ...]:
    """The types of the quantized activations; each is dequantized once."""
    ops = list(imported.module.walk())
    made = [op for op in ops if isinstance(op, sq.QuantizeOp)]
    read = [op.input for op in ops if isinstance(op, sq.DequantizeOp)]
    assert len(made) == sum(not isinstance(q.owner, ConstantOp) for q in read)
    types = [sq.quant_type(op.result) for op in made]
    return tuple(type_ for type_ in types if type_ is not None)


def test_numbers_stand_in_the_type() -> None:
    types = pair(check(lambda x: fake_quantize(x, 0.1, 5, (-8, 7)), X))
    assert types == (sq.QuantType.per_tensor("i8", -8, 7, 0.1, 5),)


def test_numbers_that_are_constant_tensors() -> None:
    scale = torch.tensor([0.1], dtype=torch.float64)
    zero_point, ends = torch.tensor([5]), (torch.tensor(-8), torch.tensor(7))

    def tensor(x: torch.Tensor) -> torch.Tensor:
        args = (scale, zero_point, -8, 7, torch.int8)
        return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *args), *args)

    def tensor2(x: torch.Tensor) -> torch.Tensor:
        args = (scale, zero_point, *ends, torch.int8)
        q = OPS.quantize_per_tensor.tensor2(x, *args)
        return OPS.dequantize_per_tensor.tensor2(q, *args)

    for call in (tensor, tensor2):
        types = pair(check(call, X))
        assert types == (sq.QuantType.per_tensor("i8", -8, 7, 0.1, 5),)


@pytest.mark.parametrize("axis", [0, -2])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_activations_per_channel(axis: int, dtype: torch.dtype) -> None:
    args = (SCALES, ZEROS.to(dtype), axis, *ENDS)
    imported = check(
        lambda x: OPS.dequantize_per_channel(OPS.quantize_per_channel(x, *args), *args),
        X,
    )
    (type_,) = pair(imported)
    assert type_.axis_number == 0
    assert type_.arrays is not None
    scale, zero_point = (imported.ctx.weights[name] for name in type_.arrays)
    assert np.array_equal(scale, SCALES.numpy())
    assert (zero_point.dtype, zero_point.tolist()) == (np.int32, ZEROS.tolist())


def test_activations_in_groups() -> None:
    scale = torch.rand(4, 3) + 0.01
    args = (scale, torch.zeros(4, 3), *ENDS, 2)
    imported = check(
        lambda x: OPS.dequantize_per_channel_group(
            OPS.quantize_per_channel_group(x, *args), *args, torch.float32
        ),
        X,
    )
    assert pair(imported)[0].group_size == 2


def test_readers_of_one_tensor() -> None:
    def call(x: torch.Tensor) -> torch.Tensor:
        args = (0.1, 5, *ENDS)
        q = OPS.quantize_per_tensor(x, *args)
        left = OPS.dequantize_per_tensor(q, *args)
        return left * OPS.dequantize_per_tensor(q, *args)

    text = str(check(call, X).module)
    assert (text.count("sq.quantize"), text.count("sq.dequantize")) == (1, 2)


@pytest.mark.parametrize("size", [8, 1100])
def test_weights_stay_in_integers_whatever_their_size(size: int) -> None:
    weight = torch.randint(-127, 128, (size, size), dtype=torch.int8)
    scale = torch.rand(size) + 0.01
    zeros = torch.zeros(size, dtype=torch.int64)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            args = (scale, zeros, 0, -127, 127, torch.int8)
            w = OPS.dequantize_per_channel(self.weight, *args)
            return nn.functional.linear(x, w)

    imported = import_model(Model(), torch.ones(1, size))
    (constant,) = (op for op in imported.module.walk() if isinstance(op, ConstantOp))
    type_ = sq.quant_type(constant.result)
    assert type_ is not None
    assert type_.arrays == ("weight.scale", "weight.zero_point")
    assert np.array_equal(imported.ctx.weights["weight"], weight.numpy())
    assert np.array_equal(imported.ctx.weights["weight.scale"], scale.numpy())


def test_weights_that_something_else_reads_are_folded() -> None:
    """Only layers have kernels for integers."""
    weight = torch.randint(-127, 128, (4, 4), dtype=torch.int8)

    def call(x: torch.Tensor) -> torch.Tensor:
        args = (0.5, 3, -128, 127, torch.int8)
        return x + OPS.dequantize_per_tensor(weight, *args)

    module = check(call, X[:, :4]).module
    assert not any(isinstance(op, sq.DequantizeOp) for op in module.walk())


def test_weights_in_integers_that_are_moved_are_folded() -> None:
    weight = torch.randint(-127, 128, (6, 4), dtype=torch.int8)

    def call(x: torch.Tensor) -> torch.Tensor:
        args = (0.5, 3, -128, 127, torch.int8)
        return x @ OPS.dequantize_per_tensor(weight, *args)

    module = import_model(Call(call).eval(), (X,)).module
    assert not any(isinstance(op, sq.DequantizeOp) for op in module.walk())


def test_layers_keep_their_names() -> None:
    imported = import_model(QuantizedCnn().eval(), torch.ones(1, 3, 8, 8))
    assert {"stem.weight", "middle.weight", "head.weight"} <= set(imported.ctx.weights)
    stored = {"stem.weight.scale", "last.weight.scale", "head.weight.scale"}
    assert stored <= set(imported.ctx.weights)
    assert len(pair(imported)) == 6


@pytest.mark.parametrize("name", ["choose_qparams", "choose_qparams_symmetric"])
@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(torch.int8, -128, 127), (torch.uint8, 0, 255)]
)
@pytest.mark.parametrize("shift", [-9.0, 0.0, 9.0])
def test_scales_of_a_tensor_at_run_time(
    name: str, dtype: torch.dtype, low: int, high: int, shift: float
) -> None:
    def call(x: torch.Tensor) -> torch.Tensor:
        choose = getattr(OPS, name).tensor
        args = (*choose(x, low, high, 1e-5, dtype), low, high, dtype)
        return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *args), *args)

    check(call, X + shift)
    check(call, X * 0 + shift)


def test_scales_of_rows_at_run_time() -> None:
    check(per_token("choose_qparams_per_token"), X.reshape(2, 2, 6))


@pytest.mark.parametrize("shift", [-9.0, -1.0, 0.0, 1.0, 9.0])
def test_zero_points_of_rows_at_run_time(shift: float) -> None:
    """torch computes in float64 here, so that single numbers may differ by a step."""
    call, x = per_token("choose_qparams_per_token_asymmetric"), sample(40, 96) + shift
    imported = import_model(Call(call).eval(), (x,))
    found, expected = run(imported, (x,)), call(x)
    step = (x.clamp(min=0).amax(1) - x.clamp(max=0).amin(1)).max() / 255
    assert (found - expected).abs().max() <= step * 1.01
    assert (found != expected).float().mean() < 0.001


def per_token(name: str) -> Callable[[torch.Tensor], Any]:
    def call(x: torch.Tensor) -> Any:
        args = (*getattr(OPS, name)(x, torch.int8), *ENDS)
        q = OPS.quantize_per_token(x, *args)
        return OPS.dequantize_per_token(q, *args, torch.float32)

    return call


# What is refused


def quantize(x: torch.Tensor, *args: Any) -> Any:
    return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *args), *args)


def other_scale(x: torch.Tensor) -> Any:
    q = OPS.quantize_per_tensor(x, 0.1, 0, *ENDS)
    return OPS.dequantize_per_tensor(q, 0.2, 0, *ENDS)


def between(x: torch.Tensor) -> Any:
    q = OPS.quantize_per_tensor(x, 0.1, 0, *ENDS)
    return OPS.dequantize_per_tensor(q.reshape(-1), 0.1, 0, *ENDS)


def computed(x: torch.Tensor) -> Any:
    return quantize(x, x.amax() + 1, torch.tensor([0]), *ENDS)


def other_choice(x: torch.Tensor) -> Any:
    choose = OPS.choose_qparams.tensor
    args = [(*choose(x * n, -128, 127, 1e-5, torch.int8), *ENDS) for n in (1, 2)]
    return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *args[0]), *args[1])


def fixed_per_token(x: torch.Tensor) -> Any:
    args = (torch.ones(4, 1), torch.zeros(4, 1), *ENDS)
    return OPS.dequantize_per_token(
        OPS.quantize_per_token(x, *args), *args, torch.float32
    )


def choice_of_zero_point(x: torch.Tensor) -> Any:
    args = OPS.choose_qparams_symmetric.tensor(x, 0, 127, 1e-5, torch.int8)
    return quantize(x, *args, *ENDS)


def per_channel(scales: torch.Tensor, zeros: torch.Tensor) -> Callable[..., Any]:
    def call(x: torch.Tensor) -> Any:
        args = (scales, zeros, 0, *ENDS)
        q = OPS.quantize_per_channel(x, *args)
        return OPS.dequantize_per_channel(q, *args)

    return call


def group_with_zero_points(x: torch.Tensor) -> Any:
    q = OPS.quantize_per_channel_group(x, torch.ones(4, 3), torch.ones(4, 3), *ENDS, 2)
    return OPS.dequantize_per_channel_group(
        q, torch.ones(4, 3), torch.ones(4, 3), *ENDS, 2, torch.float32
    )


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "other_scale": (other_scale, "its input was quantized otherwise, as !sq.quant<"),
    "between": (between, "keep quantized tensors between ops that quantize"),
    "wide": (
        lambda x: quantize(x, 0.1, 0, -128, 127, torch.int16),
        "quantize_per_tensor.default: its quantized tensor has dtype int16",
    ),
    "zero_point": (
        lambda x: quantize(x, 0.1, 300, *ENDS),
        "!sq.quant zero_point must lie in -128:127, got 300",
    ),
    "scale": (
        lambda x: quantize(x, -0.1, 0, *ENDS),
        "!sq.quant scale must be positive",
    ),
    "scales": (per_channel(-SCALES, ZEROS), "its scales are -1 to -0.01"),
    "wide scales": (
        per_channel(SCALES.double(), ZEROS),
        "its scales have dtype float64",
    ),
    "zero_points": (
        per_channel(SCALES, ZEROS + 100),
        "its zero points are 93 to 200, outside of -128 to 127",
    ),
    "groups": (group_with_zero_points, "its groups have zero points"),
    "computed": (computed, "its scale is computed by the model"),
    "other choice": (other_choice, "its input was quantized with another scale"),
    "fixed per token": (fixed_per_token, "its scales per token are fixed"),
    "choice": (choice_of_zero_point, "its range is 0 to 127 of torch.int8"),
    "result": (
        lambda x: OPS.quantize_per_tensor(x, 0.1, 0, *ENDS),
        "has dtype int8",
    ),
    "half": (
        lambda x: OPS.dequantize_per_tensor(
            OPS.quantize_per_tensor(x, 0.1, 0, *ENDS),
            *(0.1, 0, *ENDS),
            out_dtype=torch.float16,
        ),
        "the result has dtype float16",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, reason = REFUSED[case]
    with pytest.raises(ImportFailed) as caught:
        import_model(Call(call).eval(), (X,))
    assert reason in str(caught.value)
    assert "->" in str(caught.value)


def test_quantized_inputs_are_refused() -> None:
    def call(q: torch.Tensor) -> Any:
        return OPS.dequantize_per_tensor(q, 0.1, 0, *ENDS)

    with pytest.raises(ImportFailed, match="input 'args_0': it has dtype int8"):
        import_model(Call(call).eval(), (X.to(torch.int8),))
