"""How a model is called: nested inputs to a list of tensors, and back for outputs.

A model may take and return any nesting of tuples, lists, dicts and classes that torch
knows as pytrees; native code takes and returns a list of arrays. `Convention` is the
map between the two. For tuples, lists and dicts it needs no torch, so that a saved
model runs without importing it; for any other class torch's pytree does the work.

Structures are stored in the JSON form of torch's `treespec_dumps`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from edgec.errors import InvalidInput

if TYPE_CHECKING:
    from torch.utils._pytree import TreeSpec

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


class Structure(Protocol):
    """A nesting of containers; what stands in them are its leaves."""

    def flatten_call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        """The leaves of `(args, kwargs)`; `InvalidInput` if the nesting differs."""
        ...

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The nesting with other leaves."""
        ...

    def to_json(self) -> Any:
        """The structure as plain values; `InvalidInput` if a class has no name."""
        ...


@dataclass(frozen=True)
class PlainStructure:
    """Tuples, lists and dicts.

    >>> PlainStructure(dict, ("a",), (PlainStructure(list, (), (LEAF, LEAF)),))
    {'a': [*, *]}
    """

    kind: type | None
    """`tuple`, `list` or `dict`; None for a leaf."""
    keys: tuple[Any, ...] = ()
    """Of a dict, in the order of its leaves."""
    children: tuple[PlainStructure, ...] = ()

    def flatten_call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        """The leaves of `(args, kwargs)`; a dict's keys may come in any order."""
        positional, keyword = self.children
        _check_keywords(keyword.keys, kwargs)
        leaves: list[Any] = []
        positional.collect(args, "positional inputs", leaves)
        keyword.collect(dict(kwargs), "keyword inputs", leaves)
        return leaves

    def collect(self, value: Any, where: str, leaves: list[Any]) -> None:
        """Append the leaves of `value`, which messages call `where`, to `leaves`."""
        if self.kind is None:
            leaves.append(value)
            return
        if type(value) is not self.kind or len(value) != len(self.children):
            raise InvalidInput(
                f"{where} must have the structure {self}, got {_outline(value)}; "
                "each * is one input"
            )
        if self.kind is dict:
            if set(value) != set(self.keys):
                raise InvalidInput(
                    f"{where} must have the keys {list(self.keys)}, got {list(value)}"
                )
            for key, child in zip(self.keys, self.children, strict=True):
                child.collect(value[key], f"{where}[{key!r}]", leaves)
            return
        for index, child in enumerate(self.children):
            child.collect(value[index], f"{where}[{index}]", leaves)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The same nesting with other leaves."""
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        values = [child._build(leaves) for child in self.children]
        if self.kind is dict:
            return dict(zip(self.keys, values, strict=True))
        return self.kind(values)

    def to_json(self) -> Any:
        """The form of torch's `treespec_dumps`, as plain values."""
        return [_PROTOCOL, self._schema()]

    def _schema(self) -> dict[str, Any]:
        if self.kind is None:
            return {"type": None, "context": None, "children_spec": []}
        context = json.dumps(self.keys) if self.kind is dict else "null"
        children = [child._schema() for child in self.children]
        name = f"builtins.{self.kind.__name__}"
        return {"type": name, "context": context, "children_spec": children}

    def __str__(self) -> str:
        """The nesting with a star for each leaf."""
        if self.kind is None:
            return "*"
        parts = [str(child) for child in self.children]
        if self.kind is dict:
            named = zip(self.keys, parts, strict=True)
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in named) + "}"
        inner = ", ".join(parts)
        if self.kind is list:
            return f"[{inner}]"
        return f"({inner},)" if len(parts) == 1 else f"({inner})"

    __repr__ = __str__


LEAF = PlainStructure(None)


class TorchStructure:
    """Any structure that torch's pytree knows."""

    def __init__(self, spec: TreeSpec) -> None:
        self._spec = spec

    def flatten_call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        """The leaves of `(args, kwargs)`."""
        from torch.utils import _pytree as pytree

        names: list[str] = list(self._spec.child(1).context or ())
        _check_keywords(names, kwargs)
        ordered = {name: kwargs[name] for name in names}
        leaves, spec = pytree.tree_flatten((args, ordered))
        if spec != self._spec:
            raise InvalidInput(
                f"inputs must have the structure the model was imported with, "
                f"{self._spec}, got {spec}"
            )
        return leaves

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The same nesting with other leaves."""
        from torch.utils import _pytree as pytree

        return pytree.tree_unflatten(leaves, self._spec)

    def to_json(self) -> Any:
        """Torch's own form; raises `InvalidInput` for a class torch cannot name."""
        from torch.utils import _pytree as pytree

        try:
            return json.loads(pytree.treespec_dumps(self._spec))
        except (NotImplementedError, TypeError) as error:
            raise InvalidInput(
                f"the structure {self._spec} cannot be stored: {error}; register the "
                "class with a serialized_type_name"
            ) from error


def structure_of(spec: TreeSpec) -> Structure:
    """The structure that torch describes with `spec`."""
    structure = TorchStructure(spec)
    try:
        stored = structure.to_json()
    except InvalidInput:
        return structure  # it can be used; only storing it is impossible
    return _plain(stored) or structure


def structure_from_json(stored: Any) -> Structure:
    """The inverse of `Structure.to_json`.

    Raises `InvalidInput` for a class that is not registered with torch in this process.
    """
    plain = _plain(stored)
    if plain is not None:
        return plain
    from torch.utils import _pytree as pytree

    try:
        return TorchStructure(pytree.treespec_loads(json.dumps(stored)))
    except NotImplementedError as error:
        raise InvalidInput(
            f"a class in the model's inputs or outputs is unknown here: {error}; "
            "register it with torch.utils._pytree before loading the model"
        ) from error


@dataclass(frozen=True)
class Convention:
    """How a model's inputs and outputs map to the arguments and results of `@main`."""

    inputs: Structure
    """Of `(args, kwargs)`."""
    outputs: Structure
    """Of what the model returns."""
    input_specs: tuple[InputSpec, ...]
    """The arguments of `@main`, in order."""
    output_specs: tuple[OutputSpec, ...]
    """The leaves of the output, in order."""
    constant_inputs: Mapping[int, Constant]
    """Leaves of `(args, kwargs)` that are no tensors: position to value at import."""

    def flatten_inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The tensors in `(args, kwargs)`, in the order of `input_specs`.

        Raises `InvalidInput` if the structure, or a leaf that is not a tensor, differs
        from what the model was imported with.
        """
        if not kwargs and self._is_list and len(args) == len(self.input_specs):
            return list(args)
        if not kwargs:
            self._check_count(args)
        leaves = self.inputs.flatten_call(tuple(args), kwargs or {})
        for position, value in self.constant_inputs.items():
            found = leaves[position]
            if type(found) is not type(value) or found != value:
                raise InvalidInput(
                    f"input leaf {position} is compiled in as {value!r}, got {found!r}"
                )
        return [leaves[spec.position] for spec in self.input_specs]

    @cached_property
    def _is_list(self) -> bool:
        """Whether the model takes tensors one after the other, and nothing else."""
        if not isinstance(self.inputs, PlainStructure) or self.constant_inputs:
            return False
        positional, keyword = self.inputs.children
        return (
            all(child.kind is None for child in positional.children)
            and not keyword.children
            and [spec.position for spec in self.input_specs]
            == list(range(len(positional.children)))
        )

    def _check_count(self, args: Sequence[Any]) -> None:
        """`InvalidInput` naming the inputs, where these are positional tensors only."""
        wanted = len(self.input_specs)
        if self._is_list and len(args) != wanted:
            names = ", ".join(spec.name for spec in self.input_specs)
            plural = "" if wanted == 1 else "s"
            raise InvalidInput(
                f"the model takes {wanted} input{plural} ({names}), got {len(args)}"
            )

    def unflatten_inputs(
        self, tensors: Sequence[Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inverse of `flatten_inputs`: `(args, kwargs)`."""
        leaves = dict(self.constant_inputs)
        for spec, tensor in zip(self.input_specs, tensors, strict=True):
            leaves[spec.position] = tensor
        args, kwargs = self.inputs.unflatten([leaves[i] for i in range(len(leaves))])
        return args, kwargs

    def unflatten_outputs(self, results: Sequence[Any]) -> Any:
        """Rebuild the model's output from the results of `@main`."""
        return self.outputs.unflatten(
            [
                spec.value if spec.result is None else results[spec.result]
                for spec in self.output_specs
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file; raises `InvalidInput` where a class has no name."""
        return {
            "inputs": self.inputs.to_json(),
            "outputs": self.outputs.to_json(),
            "input_specs": [
                {
                    "name": spec.name,
                    "shape": list(spec.shape),
                    "dtype": spec.dtype.name,
                    "position": spec.position,
                }
                for spec in self.input_specs
            ],
            "output_specs": [vars(spec) for spec in self.output_specs],
            "constant_inputs": sorted(self.constant_inputs.items()),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Convention:
        """The inverse of `to_json`."""
        return cls(
            structure_from_json(stored["inputs"]),
            structure_from_json(stored["outputs"]),
            tuple(
                InputSpec(
                    spec["name"],
                    tuple(spec["shape"]),
                    np.dtype(spec["dtype"]),
                    spec["position"],
                )
                for spec in stored["input_specs"]
            ),
            tuple(OutputSpec(**spec) for spec in stored["output_specs"]),
            dict(stored["constant_inputs"]),
        )


_PROTOCOL = 1
"""Of `treespec_dumps`."""

_KINDS: Mapping[str, type] = {
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
}


def _plain(stored: Any) -> PlainStructure | None:
    """The structure that `to_json` gave, or None if it needs torch."""
    protocol, schema = stored
    return _plain_node(schema) if protocol == _PROTOCOL else None


def _plain_node(schema: Mapping[str, Any]) -> PlainStructure | None:
    if schema["type"] is None:
        return LEAF
    kind = _KINDS.get(schema["type"])
    children = [_plain_node(child) for child in schema["children_spec"]]
    if kind is None or None in children:
        return None
    keys = json.loads(schema["context"]) if kind is dict else ()
    if not all(isinstance(key, bool | int | float | str) for key in keys):
        return None  # JSON has no such keys; torch's form of them is a class's
    nodes = cast("list[PlainStructure]", children)  # None was just excluded
    return PlainStructure(kind, tuple(keys), tuple(nodes))


def _check_keywords(wanted: Sequence[str], found: Mapping[str, Any]) -> None:
    if found and not wanted:
        raise InvalidInput(
            "inputs must be positional, as the example inputs were; "
            f"got keyword inputs {sorted(found)}"
        )
    if set(wanted) != set(found):
        raise InvalidInput(
            f"keyword inputs must be {sorted(wanted)}, got {sorted(found)}"
        )


def _outline(value: object) -> str:
    """What `value` is, without what it holds."""
    name = type(value).__name__
    if isinstance(value, tuple | list | dict):
        return f"a {name} of {len(cast('Sized', value))}"  # their elements are open
    return f"a {name}"
