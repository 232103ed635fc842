"""What the importer hands over: the IR, and how structures map to its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from edgec.context import EdgecContext
from edgec.convention import Convention, InputSpec


@dataclass(frozen=True)
class ImportedModel:
    """A model as one `func.func @main` of `nn` ops, with its calling convention."""

    module: ModuleOp
    ctx: EdgecContext
    """Holds the weights that the IR names; they share torch's memory."""

    convention: Convention
    """How the model's inputs and outputs map to the tensors of `@main`."""

    @property
    def input_specs(self) -> tuple[InputSpec, ...]:
        """The arguments of `@main`, in order."""
        return self.convention.input_specs

    def flatten_inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The tensors in `(args, kwargs)`, as `Convention.flatten_inputs` does it."""
        return self.convention.flatten_inputs(args, kwargs)

    def unflatten_outputs(self, results: Sequence[Any]) -> Any:
        """Rebuild the model's output from the results of `@main`."""
        return self.convention.unflatten_outputs(results)
