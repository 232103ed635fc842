"""What cannot be imported is told at once, with place and advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgec.errors import ImportFailed, InvalidInput
from edgec.importer import import_model
from tests.importing import Call


def message_of(model: Any, *args: Any) -> str:
    """The error's text."""
    with pytest.raises(ImportFailed) as caught:
        import_model(model, args)
    return str(caught.value)


X = torch.ones(2, 3)


def test_all_unsupported_ops_are_listed_with_place_and_advice() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x, 1)

    model = nn.Sequential(Inner(), nn.ReLU(), Call(torch.sort), Call(lambda p: p[0]))
    message = message_of(model.eval(), X)
    assert "2 problems" in message
    assert "aten.cumsum.default" in message
    assert "aten.sort.default" in message
    assert "at 0 on (2x3 float32)" in message
    assert "test_importer_errors.py:" in message
    assert "return torch.cumsum(x, 1)" in message
    assert "->" in message


def test_equal_problems_are_told_together() -> None:
    model = nn.Sequential(*(Call(lambda x: torch.cumsum(x, 1)) for _ in range(3)))
    message = message_of(model.eval(), X)
    assert message.count("aten.cumsum.default") == 1
    assert all(f"at {i} on" in message for i in range(3))


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (torch.float64, ".float()"),
        (torch.float16, ".float()"),
        (torch.bfloat16, ".float()"),
        (torch.complex64, "real and imaginary"),
    ],
)
def test_dtypes_of_inputs_and_weights(dtype: torch.dtype, advice: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4, dtype=dtype), nn.Linear(4, 4, dtype=dtype))
    message = message_of(model.eval(), X.to(dtype))
    name = str(dtype).removeprefix("torch.")
    assert f"input 'input': it has dtype {name}" in message
    assert f"weight: dtype {name}" in message
    assert "at 1.weight" in message
    assert advice in message
    # One cause, so the ops after it are not blamed, too.
    assert "aten.linear" not in message


def test_a_dtype_that_an_op_makes_is_blamed_on_the_op() -> None:
    message = message_of(Call(lambda x: (x > 0).to(torch.float64).sum()).eval(), X)
    assert "aten.gt.Scalar" in message
    message = message_of(Call(lambda x: x.double() * 2).eval(), X)
    assert "the result has dtype float64" in message
    assert "aten.to.dtype" in message or "aten._to_copy.default" in message


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.masked_fill(torch.ones(3) > 0, x.max()),
        lambda x: torch.where(torch.ones(3) > 0, x, x * 2),
    ],
    ids=["computed-number", "two-tensors"],
)
def test_masks_must_be_known_and_fill_numbers(function: Any) -> None:
    message = message_of(Call(function).eval(), X)
    assert "computed by the model" in message
    assert "factors 0 and 1" in message


def test_int64_is_fine_for_moves_but_not_for_arithmetic() -> None:
    positions = torch.arange(6).reshape(2, 3)
    imported = import_model(Call(lambda x: x.t().float()).eval(), positions)
    assert imported.input_specs[0].dtype == "int64"
    message = message_of(Call(lambda x: x * 2).eval(), positions)
    assert "aten.mul.Tensor" in message
    assert "int64" in message


@pytest.mark.parametrize(
    ("function", "weight"),
    [
        (nn.functional.conv2d, torch.ones(3, 2, 1, 1)),
        (nn.functional.conv_transpose2d, torch.ones(2, 3, 1, 1)),
        (lambda x, w: torch.rnn_tanh_cell(x[0, 0], x[0, 0], w, w), torch.ones(4, 4)),
    ],
    ids=["convolution", "transposed", "recurrent"],
)
def test_weights_that_are_packed_must_be_known(
    function: Any, weight: torch.Tensor
) -> None:
    message = message_of(Call(function).eval(), torch.ones(1, 2, 4, 4), weight)
    assert "1 problem\n" in message
    assert "its weight is computed by the model" in message


@pytest.mark.parametrize("number", [1e39, -1e39, float("inf"), float("nan")])
def test_numbers_must_be_finite_in_float32(number: float) -> None:
    message = message_of(Call(lambda x: x + number).eval(), X)
    assert f"the number {number:g}" in message
    assert "finite in float32" in message


def test_not_finite_weights_are_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    with torch.no_grad():
        model.get_parameter("0.weight")[1, 1] = torch.nan
        model.get_parameter("1.bias")[2] = torch.inf
    message = message_of(model, X)
    assert "weight '0.weight': 1 of 9 values are NaN or infinite" in message
    assert "weight '1.bias': 1 of 3 values are NaN or infinite" in message


def test_weights_that_nothing_uses_may_be_anything() -> None:
    model = nn.BatchNorm1d(3).eval()
    model.register_buffer("unused", torch.full((3,), torch.nan, dtype=torch.float64))
    assert "num_batches_tracked" not in set(import_model(model, X).ctx.weights)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match=r"absent\.pt2' does not exist"):
        import_model(tmp_path / "absent.pt2")


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_damaged_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 2).eval(), (X,)), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImportFailed, match="cannot be read as a"):
        import_model(path)


def test_file_of_another_kind_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "state.pt2"
    torch.save(nn.Linear(3, 2).state_dict(), path)
    with pytest.raises(ImportFailed, match="cannot be read"):
        import_model(path)


def test_empty_batch() -> None:
    assert "is empty" in message_of(nn.Linear(3, 2).eval(), torch.ones(0, 3))


def test_dynamic_shapes() -> None:
    program = torch.export.export(
        nn.Linear(3, 2).eval(),
        (X,),
        dynamic_shapes={"input": {0: torch.export.Dim("n")}},
    )
    with pytest.raises(ImportFailed, match="dynamic"):
        import_model(program)


def test_data_dependent_control_flow() -> None:
    message = message_of(Call(lambda x: x if x.sum() > 0 else -x).eval(), X)
    assert "torch.export could not trace Call" in message


def test_buffer_mutation() -> None:
    class Counter(nn.Module):
        count: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return x + self.count

    message = message_of(Counter().eval(), X)
    assert "buffer 'count': the model changes it in place" in message


def test_input_mutation() -> None:
    message = message_of(nn.ReLU(inplace=True).eval(), X.clone())
    assert "input 'input': the model changes it in place" in message


@pytest.mark.parametrize(
    "model", [nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 3), nn.Dropout())]
)
def test_programs_exported_in_training_mode(model: nn.Module) -> None:
    program = torch.export.export(model.train(), (X,))
    with pytest.raises(ImportFailed, match=r"eval\(\)"):
        import_model(program)


@pytest.mark.parametrize(
    ("call", "op"),
    [
        (lambda x: torch.exp(x[x > 0]), "aten.index.Tensor"),
        (torch.nonzero, "aten.nonzero.default"),
        (
            lambda x: x.reshape(-1)[: x.sum().long().item()],
            "aten._local_scalar_dense.default",
        ),
    ],
)
def test_shapes_that_depend_on_data(call: Any, op: str) -> None:
    message = message_of(Call(call).eval(), X)
    assert f"{op}: the shape of its result depends on data" in message
    assert "tests/importing.py:" in message


def test_results_that_have_no_op() -> None:
    model = nn.MaxPool2d(2, return_indices=True).eval()
    assert "result 1 of" in message_of(model, torch.ones(1, 1, 4, 4))


def test_wrong_kinds_of_model_and_missing_inputs() -> None:
    with pytest.raises(InvalidInput, match="got int"):
        import_model(3, X)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="example_inputs"):
        import_model(nn.ReLU())


@pytest.mark.parametrize("inputs", [X[:1], X.double(), (X, X), {}], ids=str)
def test_inputs_that_are_not_those_of_a_program(inputs: Any) -> None:
    """They would be ignored."""
    program = torch.export.export(nn.ReLU(), (X,))
    with pytest.raises(InvalidInput, match=r"such as the exported program has.*; got"):
        import_model(program, inputs)


def test_inputs_that_are_those_of_a_program() -> None:
    program = torch.export.export(Call(lambda x, n, y: x[0] * n + y), (X, 3, X))
    for inputs in (None, (X, 3, X)):
        assert import_model(program, inputs).flatten_inputs((X, 3, X)) == [X, X]


def test_inputs_of_another_structure() -> None:
    imported = import_model(Call(lambda x, n: x * n).eval(), (X, 3))
    assert imported.flatten_inputs((X, 3)) == [X]
    with pytest.raises(InvalidInput, match="compiled in as 3, got 4"):
        imported.flatten_inputs((X, 4))
    with pytest.raises(InvalidInput, match="structure"):
        imported.flatten_inputs((X,))
    with pytest.raises(InvalidInput, match=r"must be positional.*\['more'\]"):
        imported.flatten_inputs((X, 3), {"more": X})
