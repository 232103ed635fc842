"""Encodings of weights: how `sq.weight` stores what pruning left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    IntegerAttr,
    IntegerType,
)
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import columns, fkw, shapes
from edgec.dialects.nn import int_array, int_attr
from edgec.dialects.sq.parsing import parse_field, parse_ints

Array = npt.NDArray[np.generic]


class WeightEncoding(ParametrizedAttribute):
    """Base of encodings of a weight tensor: names its arrays and decodes them."""

    def array_names(self) -> tuple[str, ...]:
        """Names of the arrays of a `sq.weight` with this encoding."""
        raise AssertionError(f"{self.name} must define array_names")

    def decode(self, arrays: Mapping[str, Array], shape: shapes.Shape) -> Array:
        """The dense weights."""
        raise AssertionError(f"{self.name} must define decode")

    def scheme(self) -> str:
        """A short name for reports, for example `pattern`."""
        raise AssertionError(f"{self.name} must define scheme")


@irdl_attr_definition
class PatternAttr(WeightEncoding):
    """`#sq.pattern<patterns = [[0, 1, 3, 4], …], kernels = 1152, ordered = true>`.

    FKW storage of PatDNN (ASPLOS 2020, section 5.3): `kernels` kernels are kept, each
    keeps the taps of one of `patterns` (row-major positions in the kernel). `ordered`
    says that filters and kernels were put in the order of filter-kernel reorder, so
    that each filter's kernels of one pattern stand together.
    """

    name = "sq.pattern"

    patterns: ArrayAttr[DenseArrayBase[IntegerType]] = param_def()
    kernels: IntegerAttr[IntegerType] = param_def()
    ordered: IntegerAttr[IntegerType] = param_def()

    @staticmethod
    def of(
        patterns: Sequence[Sequence[int]], kernels: int, *, ordered: bool
    ) -> PatternAttr:
        """The attribute from plain values."""
        return PatternAttr(
            ArrayAttr(int_array(pattern) for pattern in patterns),
            int_attr(kernels),
            int_attr(int(ordered)),
        )

    @property
    def taps(self) -> tuple[tuple[int, ...], ...]:
        """The patterns as tuples of positions."""
        return tuple(tuple(p.get_values()) for p in self.patterns)

    @property
    def is_ordered(self) -> bool:
        """Whether filter-kernel reorder has run."""
        return bool(self.ordered.value.data)

    @property
    def num_kernels(self) -> int:
        """How many kernels are kept."""
        return self.kernels.value.data

    def array_names(self) -> tuple[str, ...]:
        """`stride` only once the storage is ordered."""
        names = ("reorder", "offset", "index", "pattern", "weight")
        return (*names, "stride") if self.is_ordered else names

    def decode(self, arrays: Mapping[str, Array], shape: shapes.Shape) -> Array:
        """Unpack the kernels to their places."""
        return fkw.unpack(self.storage(arrays), shape)

    def storage(self, arrays: Mapping[str, Array]) -> fkw.Fkw:
        """The FKW arrays as one value."""
        return fkw.Fkw.from_arrays(self.taps, arrays)

    def scheme(self) -> str:
        """Always `pattern`."""
        return "pattern"

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            parser.parse_keyword("patterns")
            parser.parse_punctuation("=")
            patterns = parser.parse_comma_separated_list(
                parser.Delimiter.SQUARE, lambda: int_array(parse_ints(parser))
            )
            parser.parse_punctuation(",")
            kernels = parse_field(parser, "kernels")
            parser.parse_punctuation(",")
            parser.parse_keyword("ordered")
            parser.parse_punctuation("=")
            ordered = int(parser.parse_boolean())
        return [ArrayAttr(patterns), int_attr(kernels), int_attr(ordered)]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        patterns = ", ".join(str(list(p)) for p in self.taps)
        ordered = "true" if self.is_ordered else "false"
        printer.print_string(
            f"<patterns = [{patterns}], kernels = {self.num_kernels}, "
            f"ordered = {ordered}>"
        )

    def verify(self) -> None:
        """Check the values."""
        sizes = {len(pattern) for pattern in self.taps}
        if len(sizes) != 1 or len(set(self.taps)) != len(self.taps):
            raise VerifyException(
                "#sq.pattern patterns must be distinct and of one length, "
                f"got {list(self.taps)}"
            )
        if any(list(p) != sorted(set(p)) or p[0] < 0 for p in self.taps):
            raise VerifyException(
                f"#sq.pattern positions must rise from 0, got {list(self.taps)}"
            )


@irdl_attr_definition
class ColumnsAttr(WeightEncoding):
    """`#sq.columns<block = 8, columns = 1152, reordered = false>`.

    Compressed columns (`edgec.dialects.columns`): blocks of `block` filters keep the
    same columns, `columns` over all blocks. One storage for block-punched, KGS, BCR
    and BSP pruning, and with a block of 1 for N:M and unstructured zeros. `reordered`
    says that filters do not stand in the order of the model. Weights of a grouped
    convolution say how many `groups` there are: no block crosses from one to the next.
    """

    name = "sq.columns"

    block: IntegerAttr[IntegerType] = param_def()
    columns: IntegerAttr[IntegerType] = param_def()
    groups: IntegerAttr[IntegerType] = param_def()
    reordered: IntegerAttr[IntegerType] = param_def()

    @staticmethod
    def of(block: int, kept: int, *, reordered: bool, groups: int = 1) -> ColumnsAttr:
        """The attribute from plain values."""
        values = (block, kept, groups, int(reordered))
        return ColumnsAttr(*map(int_attr, values))

    @property
    def is_reordered(self) -> bool:
        """Whether rows hold filters in another order than the model's."""
        return bool(self.reordered.value.data)

    @property
    def block_size(self) -> int:
        """Filters of a block."""
        return self.block.value.data

    @property
    def num_columns(self) -> int:
        """Columns kept, over all blocks."""
        return self.columns.value.data

    @property
    def num_groups(self) -> int:
        """Groups of the convolution."""
        return self.groups.value.data

    def array_names(self) -> tuple[str, ...]:
        """Those of `Columns`."""
        return columns.ARRAYS

    def decode(self, arrays: Mapping[str, Array], shape: shapes.Shape) -> Array:
        """Put the columns in their places."""
        return columns.unpack(self.storage(arrays), shape)

    def storage(self, arrays: Mapping[str, Array]) -> columns.Columns:
        """The arrays as one value."""
        return columns.Columns.from_arrays(arrays, self.num_groups)

    def scheme(self) -> str:
        """The name that pruning uses for blocks of this size."""
        size = self.block_size
        return "unstructured" if size == 1 else f"columns of {size}"

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            block = parse_field(parser, "block")
            parser.parse_punctuation(",")
            kept, groups = parse_field(parser, "columns"), 1
            parser.parse_punctuation(",")
            if parser.parse_optional_keyword("groups"):
                parser.parse_punctuation("=")
                groups = parser.parse_integer()
                parser.parse_punctuation(",")
            parser.parse_keyword("reordered")
            parser.parse_punctuation("=")
            reordered = int(parser.parse_boolean())
        return [*map(int_attr, (block, kept, groups, reordered))]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        reordered = "true" if self.is_reordered else "false"
        groups = f"groups = {self.num_groups}, " if self.num_groups > 1 else ""
        printer.print_string(
            f"<block = {self.block_size}, columns = {self.num_columns}, "
            f"{groups}reordered = {reordered}>"
        )

    def verify(self) -> None:
        """Check the values."""
        if self.block_size < 1 or self.num_columns < 0 or self.num_groups < 1:
            raise VerifyException(
                "#sq.columns needs block >= 1, columns >= 0 and groups >= 1, "
                f"got {self.block_size}, {self.num_columns} and {self.num_groups}"
            )
