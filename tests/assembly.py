"""What tests ask of machine code."""

from __future__ import annotations


def loops(assembly: str) -> list[list[str]]:
    """The instructions of innermost loops: from a label to a jump back to it."""
    lines, found = assembly.splitlines(), list[list[str]]()
    start: dict[str, int] = {}
    for number, line in enumerate(lines):
        if line.startswith(".L"):
            start = {line.rstrip(":"): number}
        parts = line.split()
        if parts and parts[0].startswith("j") and parts[-1] in start:
            found.append(lines[start[parts[-1]] + 1 : number])
    return found
