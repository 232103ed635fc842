"""What the importer hands over: the IR, and how structures map to its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.utils._pytree as pytree
from xdsl.dialects.builtin import ModuleOp

from edgec.context import EdgecContext
from edgec.errors import InvalidInput

Constant = bool | int | float | str | None


@dataclass(frozen=True)
class InputSpec:
    """One tensor argument of `@main`."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    position: int
    """Index among the leaves of `(args, kwargs)`; leaves that are not tensors count."""


@dataclass(frozen=True)
class OutputSpec:
    """One leaf of the model's output: a result of `@main` or a constant."""

    name: str
    result: int | None
    """Index of the result of `@main`; None for a constant."""

    value: Constant = None
    """The constant, where `result` is None."""


@dataclass(frozen=True)
class ImportedModel:
    """A model as one `func.func @main` of `nn` ops, with its calling convention."""

    module: ModuleOp
    ctx: EdgecContext
    """Holds the weights that the IR names; they share torch's memory."""

    input_specs: tuple[InputSpec, ...]
    """The arguments of `@main`, in order."""

    output_specs: tuple[OutputSpec, ...]
    """The leaves of the output, in order."""

    constant_inputs: Mapping[int, Constant]
    """Leaves of `(args, kwargs)` that are no tensors: position to value at import."""

    in_spec: pytree.TreeSpec
    """Structure of `(args, kwargs)`."""

    out_spec: pytree.TreeSpec
    """Structure of what the model returns."""

    def flatten_inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The tensors in `(args, kwargs)`, in the order of `input_specs`.

        Raises `InvalidInput` if the structure, or a leaf that is not a tensor, differs
        from what the model was imported with.
        """
        ordered = self._ordered_kwargs(kwargs or {})
        leaves, spec = pytree.tree_flatten((tuple(args), ordered))
        if spec != self.in_spec:
            raise InvalidInput(
                f"inputs must have the structure the model was imported with, "
                f"{self.in_spec}, got {spec}"
            )
        for position, value in self.constant_inputs.items():
            found = leaves[position]
            if type(found) is not type(value) or found != value:
                raise InvalidInput(
                    f"input leaf {position} is compiled in as {value!r}, got {found!r}"
                )
        return [leaves[spec.position] for spec in self.input_specs]

    def unflatten_outputs(self, results: Sequence[Any]) -> Any:
        """Rebuild the model's output from the results of `@main`."""
        leaves = [
            spec.value if spec.result is None else results[spec.result]
            for spec in self.output_specs
        ]
        return pytree.tree_unflatten(leaves, self.out_spec)

    def in_spec_json(self) -> str:
        """`in_spec` as JSON; raises `InvalidInput` for a class torch cannot name."""
        return _dumps(self.in_spec, "input")

    def out_spec_json(self) -> str:
        """`out_spec` as JSON; raises `InvalidInput` for a class torch cannot name."""
        return _dumps(self.out_spec, "output")

    def _ordered_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        wanted: list[str] = list(self.in_spec.child(1).context or ())
        if set(wanted) != set(kwargs):
            raise InvalidInput(
                f"keyword inputs must be {sorted(wanted)}, got {sorted(kwargs)}"
            )
        return {name: kwargs[name] for name in wanted}


def spec_from_json(text: str) -> pytree.TreeSpec:
    """The inverse of `ImportedModel.in_spec_json` and `out_spec_json`."""
    return pytree.treespec_loads(text)


def _dumps(spec: pytree.TreeSpec, what: str) -> str:
    try:
        return pytree.treespec_dumps(spec)
    except NotImplementedError as error:
        raise InvalidInput(
            f"the {what} structure {spec} cannot be stored: {error}; register the "
            "class with a serialized_type_name"
        ) from error
