"""How many examples a property gets whose examples cost much, or little."""

from __future__ import annotations

from hypothesis import settings

USUAL = 25
"""Examples of the `ci` profile."""
MOST_TIMES = 20
"""Examples that compile take a second: more would turn hours into days."""


def examples(count: int) -> settings:
    """`count` in the `ci` profile, and up to 20 times as many in a deeper one."""
    times = min(MOST_TIMES, max(1, settings().max_examples // USUAL))
    return settings(max_examples=count * times)
