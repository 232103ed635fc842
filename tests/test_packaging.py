"""What is installed is what stands in the tree."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_in_tree() -> set[str]:
    """Every folder with an `__init__.py` under the three roots."""
    found: set[str] = set()
    for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items():
        top = ROOT / folder
        for init in top.rglob("__init__.py"):
            inner = init.parent.relative_to(top).parts
            if not (name == "edgec" and inner[:1] in {("dialects",), ("passes",)}):
                found.add(".".join([name, *inner]))
    return found


def test_every_package_is_listed() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_in_tree())


def test_every_folder_with_code_is_a_package() -> None:
    for top in ("edgec", "dialects", "passes"):
        for source in (ROOT / top).rglob("*.py"):
            assert (source.parent / "__init__.py").exists(), source


@pytest.mark.parametrize("name", ["dialects", "passes"])
def test_symlinks(name: str) -> None:
    link = ROOT / "edgec" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"


@pytest.mark.parametrize("name", ["dialects", "passes"])
def test_bare_names_are_refused(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"import this package as 'edgec.{name}'" in result.stderr


def test_version_is_one() -> None:
    import edgec

    assert edgec.__version__ == PROJECT["project"]["version"]


def test_constraints_name_no_machine() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line
        assert "/" not in line
        assert "+" not in line


def test_constraints_cover_the_requirements() -> None:
    tested = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    project = PROJECT["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    for requirement in wanted:
        name = requirement.split(">")[0].split("~")[0].split("[")[0]
        assert name == "edgec" or name in tested, requirement
