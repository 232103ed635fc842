"""What all tests share: hypothesis profiles, CPU features, golden files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile("ci")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden files instead of comparing with them",
    )


@cache
def cpu_features() -> frozenset[str]:
    """The feature flags of this machine, in LLVM's spelling without separators."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].replace("_", "").split())
    return frozenset()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("isa"):
        for feature in mark.args:
            name = str(feature).replace("-", "").replace("_", "")
            if name not in cpu_features():
                pytest.skip(f"this machine has no {feature}")
    profile = item.config.getoption("--hypothesis-profile")
    if item.get_closest_marker("deep") and profile != "deep":
        pytest.skip("runs with --hypothesis-profile=deep")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file `tests/golden/NAME`, or rewrite the file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists():
            pytest.fail(f"no golden file {path.name}; make it with 'make update'")
        assert text == path.read_text(), "if this is meant: make update"

    return check
