"""edgec itself, with any options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.engines.base import Array, Run, as_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgec.options import Options


@dataclass(frozen=True)
class EdgeC:
    """One way to compile; rows of a table may differ in their options alone."""

    name: str
    options: Options
    target: str = "native"
    is_own: bool = True
    is_float32: bool = True

    def available(self) -> str | None:
        """Always: whoever measures has it."""
        return None

    def version(self) -> str:
        """The version of the package."""
        import edgec

        return edgec.__version__

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Compile; a call is the public one, with torch tensors."""
        import edgec

        compiled = edgec.compile(
            model, inputs, target=self.target, threads=threads, options=self.options
        )

        def run() -> list[Array]:
            return as_arrays(compiled(*inputs))

        return run
