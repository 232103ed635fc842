"""Parts of the custom assembly that attributes of `sq` share."""

from __future__ import annotations

from xdsl.parser import AttrParser


def parse_ints(parser: AttrParser) -> list[int]:
    """`[1, 2]`."""
    return parser.parse_comma_separated_list(
        parser.Delimiter.SQUARE, parser.parse_integer
    )


def parse_field(parser: AttrParser, name: str) -> int:
    """`name = 1`."""
    parser.parse_keyword(name)
    parser.parse_punctuation("=")
    return parser.parse_integer()
