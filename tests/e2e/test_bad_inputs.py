"""What a user can do wrong: each mistake gets an error that says what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgec
from edgec.errors import (
    EdgecError,
    ImportFailed,
    InvalidArtefact,
    InvalidInput,
    InvalidTarget,
)
from edgec.options import Options
from edgec.target import MAX_THREADS
from tests.importing import Call, sample
from tests.networks import Several, seeded

NO_CACHE = Options(use_cache=False)
X = sample(2, 3, 5, 5)


@pytest.fixture(scope="module")
def model() -> edgec.CompiledModel:
    conv = nn.Conv2d(3, 4, 3).eval()
    return edgec.compile(conv, X, threads=1, options=NO_CACHE)


WRONG_TENSORS: dict[str, tuple[Callable[[], Any], str]] = {
    "shape": (lambda: X[:1], r"float32 of shape \(2, 3, 5, 5\).*\(1, 3, 5, 5\)"),
    "rank": (lambda: X[0], r"shape \(3, 5, 5\)"),
    "empty batch": (lambda: X[:0], r"shape \(0, 3, 5, 5\)"),
    "float64": (X.double, "float32.*float64"),
    "half": (X.half, "float16"),
    "bfloat16": (X.bfloat16, "bfloat16"),
    "integers": (X.long, "int64"),
    "complex": (lambda: torch.complex(X, X), "complex64"),
    "conjugate": (lambda: torch.complex(X, X).conj(), "complex64"),
    "float8": (lambda: torch.zeros(2, 3, 5, 5, dtype=torch.float8_e5m2), "float8"),
    "meta": (lambda: X.to("meta"), "CPU.*device meta"),
    "sparse": (X.to_sparse, "dense.*sparse_coo"),
    "float64 array": (lambda: X.double().numpy(), "float32.*float64"),
    "other endian array": (lambda: X.numpy().astype(">f4"), "got >f4"),
    "array of objects": (lambda: np.empty((2, 3, 5, 5), object), "object"),
    "list": (X.tolist, "got list"),
    "number": (lambda: 3.0, "got float"),
    "none": (lambda: None, "got NoneType"),
}


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_tensors_that_do_not_fit(model: edgec.CompiledModel, name: str) -> None:
    make, message = WRONG_TENSORS[name]
    with pytest.raises(InvalidInput, match=message) as caught:
        model(make())
    assert "input 'input'" in str(caught.value)


def test_tensors_that_are_odd_but_fit(model: edgec.CompiledModel) -> None:
    expected = model(X)
    negative = torch.complex(X, -X).conj().imag
    assert negative.is_neg()
    reverse = np.ascontiguousarray(X.numpy()[..., ::-1])[..., ::-1]
    shifted = np.zeros(X.numel() * 4 + 1, np.uint8)[1:].view(np.float32)
    shifted[:] = X.numpy().ravel()
    for odd in (nn.Parameter(X), negative, X.expand(1, 2, 3, 5, 5)[0]):
        assert torch.equal(model(odd), expected)
    for array in (reverse, shifted.reshape(X.shape), X.numpy()[::1]):
        np.testing.assert_array_equal(model(array), expected.numpy())
    read_only = X.numpy().copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(model(read_only), expected.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda args, kwargs: ((), kwargs), "positional inputs must .* one input"),
        (lambda args, kwargs: (args, {}), r"keyword inputs must be \['gain'\], got"),
        (lambda args, kwargs: (args, {**kwargs, "z": 1}), "got .'gain', 'z'."),
        (lambda args, kwargs: ((args[0], {}), kwargs), r"inputs\[1\] must have"),
        (lambda args, kwargs: ((args[0], {"p": 1}), kwargs), r"keys \['pair'\]"),
        (
            lambda args, kwargs: ((args[0], {"pair": tuple(args[1]["pair"])}), kwargs),
            r"inputs\[1\]\['pair'\] must have the structure \[\*, \*\], got a tuple",
        ),
        (
            lambda args, kwargs: ((args[0], {"pair": args[1]["pair"][:1]}), kwargs),
            "got a list of 1",
        ),
        (
            lambda args, kwargs: ((args[0], torch.tensor(1.0)), kwargs),
            "got a Tensor",
        ),
    ],
)
def test_other_structures(change: Any, message: str) -> None:
    pair = [sample(2, 4), sample(2, 1, 1, 1)]
    args, kwargs = (sample(2, 2, 5, 6), {"pair": pair}), {"gain": sample(1)}
    program = torch.export.export(seeded(Several), args, kwargs)
    imported = edgec.compile(program, threads=1)
    args, kwargs = change(args, kwargs)
    with pytest.raises(InvalidInput, match=message):
        imported(*args, **kwargs)


def test_numbers_of_inputs(model: edgec.CompiledModel) -> None:
    pair = edgec.compile(Call(torch.add), (X, X), threads=1, options=NO_CACHE)
    for compiled, inputs, message in (
        (model, (), r"takes 1 input \(input\), got 0"),
        (model, (X, X), r"takes 1 input \(input\), got 2"),
        (pair, (X,), r"takes 2 inputs \(\w+, \w+\), got 1"),
        (pair, ((X, X),), r"takes 2 inputs \(\w+, \w+\), got 1"),
    ):
        with pytest.raises(InvalidInput, match=message):
            compiled(*inputs)
    with pytest.raises(InvalidInput, match=r"must be positional.*\['x'\]"):
        model(x=X)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threads": 0}, InvalidInput, f"from 1 to {MAX_THREADS}, got 0"),
        ({"threads": -1}, InvalidInput, "got -1"),
        ({"threads": 2.5}, InvalidInput, "got 2.5"),
        ({"threads": 10**6}, InvalidInput, "got 1000000"),
        ({"target": "pentium"}, InvalidTarget, "unknown target 'pentium'; allowed"),
        ({"target": "aarch64"}, InvalidTarget, "cannot run here"),
        ({"target": None}, InvalidTarget, "must be a name or a Target, got None"),
    ],
)
def test_arguments_of_compile(
    arguments: dict[str, Any], error: type[EdgecError], message: str
) -> None:
    if arguments.get("target") == "aarch64" and edgec.Target.parse(
        "generic"
    ).architecture == ("aarch64"):
        pytest.skip("this machine is one")
    with pytest.raises(error, match=message):
        edgec.compile(nn.ReLU(), X, **arguments)


def test_options() -> None:
    with pytest.raises(InvalidInput, match="`sparsity` must be one of"):
        Options(sparsity="never")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="`verify` must be True or False, got 1"):
        Options(verify=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("cache", [3, True, b"folder"])
def test_cache_folders_are_paths(cache: Any) -> None:
    with pytest.raises(InvalidInput, match="`cache` must be the path of a folder, got"):
        Options(cache=cache)


def test_a_cache_folder_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidInput, match="is not a folder"):
        edgec.compile(nn.ReLU(), X, options=Options(cache=file))


@pytest.mark.parametrize(
    "array", [np.array([None]), X.numpy().astype(">f4"), np.array(["x"])]
)
def test_example_arrays_that_torch_does_not_know(array: Any) -> None:
    with pytest.raises(InvalidInput, match=f"array of {array.dtype} and shape"):
        edgec.compile(nn.ReLU(), array)


def test_empty_example_inputs() -> None:
    with pytest.raises(ImportFailed, match="empty"):
        edgec.compile(nn.ReLU(), X[:0])


def test_no_example_inputs() -> None:
    with pytest.raises(InvalidInput, match="example_inputs"):
        edgec.compile(nn.ReLU())


def test_not_a_model() -> None:
    with pytest.raises(InvalidInput, match="got builtin"):
        edgec.compile(torch.relu, X)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"x" * 1000])
def test_damaged_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ImportFailed, match="cannot be read as a torch"):
        edgec.compile(path)


def test_a_truncated_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 3), (sample(2, 3),)), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImportFailed, match="cannot be read as a torch"):
        edgec.compile(path)


@pytest.mark.parametrize("content", ["module", "weights", "script"])
def test_other_files_of_torch(tmp_path: Path, content: str) -> None:
    path, linear = tmp_path / "model.pt2", nn.Linear(3, 3)
    if content == "script":
        torch.jit.save(torch.jit.trace(linear, sample(2, 3)), path)
    else:
        torch.save(linear if content == "module" else linear.state_dict(), path)
    message = r"model\.pt2' was written by torch\.save .*torch\.export\.save\(torch"
    with pytest.raises(ImportFailed, match=message):
        edgec.compile(path)


def test_compiling_twice(model: edgec.CompiledModel, tmp_path: Path) -> None:
    path = tmp_path / "model.edgec"
    model.save(path)
    for each in (path, str(path)):
        with pytest.raises(ImportFailed, match=r"model\.edgec' is already compiled"):
            edgec.compile(each)


def test_saving_to_a_folder_that_is_missing(
    model: edgec.CompiledModel, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*/none'"):
        model.save(tmp_path / "none" / "model.edgec")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="does not exist"):
        edgec.compile(tmp_path / "none.pt2")
    with pytest.raises(InvalidArtefact, match="No such file"):
        edgec.load(tmp_path / "none.edgec")
    with pytest.raises(InvalidArtefact, match="Is a directory"):
        edgec.load(tmp_path)


def test_operators_nobody_knows() -> None:
    with pytest.raises(ImportFailed, match="svd"):
        edgec.compile(Call(lambda x: torch.linalg.svd(x)[1]), X)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float) -> None:
    conv = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.weight[1, 2, 1, 1] = value
    with pytest.raises(ImportFailed, match="'weight': 1 of 108 values are NaN or inf"):
        edgec.compile(conv, X)


def test_a_mask_of_infinities() -> None:
    masked = Call(lambda x: torch.softmax(x + masked.get_buffer("mask"), -1))
    masked.register_buffer("mask", torch.full((5, 5), -torch.inf).triu(1))
    found = edgec.compile(masked, X, threads=1, options=NO_CACHE)(X)
    torch.testing.assert_close(found, masked(X))


def test_inputs_that_are_no_numbers() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Hardtanh()
    ).eval()
    x = X.clone()
    x[0, 0, 0, 0], x[1, 1, 2, 2], x[1, 2, 4, 4] = (
        float("nan"),
        float("inf"),
        -float("inf"),
    )
    found = edgec.compile(network, X, threads=1, options=NO_CACHE)(x)
    with torch.no_grad():
        expected = network(x)
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-5, atol=1e-5)
