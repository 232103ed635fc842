"""What every engine offers, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[Any]

Run = Callable[[], Sequence[Array]]
"""One inference on the inputs it was prepared with; returns all outputs. They may be
overwritten by the next call."""


class Engine(Protocol):
    """Something that runs a torch model; nothing of it is imported before `prepare`."""

    @property
    def name(self) -> str:
        """What tables and `--engines` call it."""
        ...

    @property
    def is_own(self) -> bool:
        """Whether it is edgec; the others are its peers."""
        ...

    @property
    def is_float32(self) -> bool:
        """Whether it computes in float32, as the models say.

        One that may choose less does another job: it is shown, but is never the best
        peer.
        """
        ...

    def available(self) -> str | None:
        """None if the engine can run here, else the reason why not."""
        ...

    def version(self) -> str:
        """The version that is installed; only for an engine that is available."""
        ...

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Build everything that does not depend on the values of the inputs.

        `model` is in eval mode and not changed. What an engine raises for a model it
        cannot run is its own affair; whoever calls this reports it.
        """
        ...


def missing(*modules: str) -> str | None:
    """None if all Python modules are installed, else a sentence naming the others."""
    absent = [name for name in modules if find_spec(name) is None]
    if not absent:
        return None
    return f"not installed: {', '.join(absent)} (in a clone: pip install '.[bench]')"


def as_arrays(output: object) -> list[Array]:
    """The tensors in what a torch model returned, as arrays that share their memory."""
    from torch import Tensor
    from torch.utils import _pytree as pytree

    leaves: list[object] = pytree.tree_leaves(output)
    return [np.asarray(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
