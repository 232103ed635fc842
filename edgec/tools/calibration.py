"""Calibration batches from an `.npz` file, for `edgec compress`.

The file has an array for each input of the model, by the input's name. An array with
one dimension more than the input holds a batch in each place of its first dimension:
`(batches, *shape)`. One with as many dimensions holds samples, which are cut into
batches of the input's size along the first: `(batches * shape[0], *shape[1:])`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgec.errors import InvalidInput
from edgec.tools.arrays import read_archive

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Array = npt.NDArray[Any]


def read_calibration(path: Path, program: ExportedProgram) -> list[Any]:
    """The batches of a file, each as `edgec.compress.quantize` takes them.

    Raises `InvalidInput` if the file does not fit the program, `OSError` if it cannot
    be read.
    """
    import torch
    from torch.utils import _pytree as pytree

    inputs = program_inputs(program)
    arrays = read_archive(path)
    if arrays.keys() != inputs.keys():
        raise InvalidInput(
            f"'{path}' must have an array for each input, {_list(inputs)}; "
            f"it has {_list(arrays) or 'none'}"
        )
    cut = [_cut(f"'{path}': '{n}'", arrays[n], x) for n, x in inputs.items()]
    counts = dict(zip(inputs, map(len, cut), strict=True))
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise InvalidInput(f"'{path}' must have as many batches of each input: {shown}")
    structure = program.call_spec.in_spec
    assert structure is not None, "every exported program has one"
    batches: list[Any] = []
    for leaves in zip(*cut, strict=True):
        tensors = [torch.as_tensor(leaf) for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(tensors, structure)
        if args and kwargs:
            raise InvalidInput(
                "the model has positional inputs and others by keyword; export it with "
                "all of one kind to quantize it"
            )
        batches.append(kwargs or args)
    return batches


def program_inputs(program: ExportedProgram) -> dict[str, Any]:
    """The tensors that a program takes, by their names; they have no values."""
    names = program.graph_signature.user_inputs
    values = {n.name: n.meta["val"] for n in program.graph.nodes if n.name in names}
    return {str(name): values[name] for name in names if name in values}


def _cut(what: str, array: Array, like: Any) -> list[Array]:
    """An array as batches of the shape and type of an input."""
    shape = tuple(like.shape)
    dtype = str(like.dtype).removeprefix("torch.")
    is_cut = array.ndim == len(shape) > 0 and not array.shape[0] % shape[0]
    if is_cut and array.shape[1:] == shape[1:]:
        array = array.reshape(-1, *shape)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1 or not len(array):
        raise InvalidInput(
            f"{what} must hold batches of shape {shape}: (batches, "
            f"{', '.join(map(str, shape))}); got {array.shape}"
        )
    if str(array.dtype) != dtype:
        raise InvalidInput(f"{what} must be {dtype} as the input, got {array.dtype}")
    return [np.ascontiguousarray(each) for each in array]


def _list(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
