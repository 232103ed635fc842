"""The compiler's context: xDSL's, the weights, and what was measured of layers.

The IR holds weights by name only (`nn.constant "conv1.weight" : tensor<…>`). The arrays
stand in a `WeightStore`, shared with torch's own memory where they came from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from xdsl.context import Context

from edgec.errors import InvalidInput, some_of
from edgec.tuning_log import Entry

Array = npt.NDArray[np.generic]


class WeightStore(Mapping[str, Array]):
    """Named read-only arrays. Names are unique; equal content is stored once."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._by_content: dict[tuple[str, str], str] = {}

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            known = some_of(sorted(self._arrays))
            raise InvalidInput(
                f"no weights named '{name}'; known are {known}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def add(self, name: str, array: Array) -> str:
        """Store `array` under `name` and return the name to use in the IR.

        The array is not copied; the stored view is read-only. If the name is taken by
        other content, a suffix is appended; if the same content was added under the
        same hint before, that name is returned.
        """
        view = array.view()
        view.flags.writeable = False
        taken = self._arrays.get(name)
        if taken is not None and taken is not array:
            key = (name, _digest(view))
            if _digest(taken) == key[1]:
                return name
            if key in self._by_content:
                return self._by_content[key]
            fresh = f"{name}.{sum(n.startswith(name + '.') for n in self._arrays) + 1}"
            while fresh in self._arrays:
                fresh += "_"
            self._by_content[key] = fresh
            name = fresh
        self._arrays[name] = view
        return name

    def discard(self, name: str) -> None:
        """Forget `name` if it is there, so that its memory can be freed."""
        self._arrays.pop(name, None)


def _digest(array: Array) -> str:
    state = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


@dataclass
class EdgecContext(Context):
    """An xDSL context with the arrays behind `nn.constant` and `sq.weight`."""

    weights: WeightStore = field(default_factory=WeightStore)
    tuned: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    """Layer → its entry in a tuning log."""

    def clone(self) -> EdgecContext:
        """A copy that shares the arrays."""
        copy = EdgecContext(
            self.allow_unregistered,
            self._loaded_dialects.copy(),
            self._loaded_ops.copy(),
            self._loaded_attrs.copy(),
            self._loaded_types.copy(),
            self._registered_dialects.copy(),
        )
        copy.weights, copy.tuned = self.weights, self.tuned
        return copy


def weights_of(ctx: Context) -> WeightStore:
    """The weight store of a context; an empty one for a plain xDSL context.

    A plain context (for example in `xdsl-opt`) has no arrays behind names, so passes
    that look a name up there raise `InvalidInput`; constants that stand in the IR work.
    """
    return ctx.weights if isinstance(ctx, EdgecContext) else WeightStore()


def tuned_of(ctx: Context) -> Mapping[str, Entry]:
    """What a tuning log says of layers; nothing for a plain xDSL context."""
    return ctx.tuned if isinstance(ctx, EdgecContext) else {}
