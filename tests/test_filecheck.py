"""Each `.mlir` file under tests/filecheck, by lit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "filecheck"
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.mlir"))


def run_lit(test: Path, output: Path) -> subprocess.CompletedProcess[str]:
    lit = [sys.executable, "-c", "from lit.main import main; main()"]
    return subprocess.run(
        [*lit, "-j1", "-v", "--config-prefix=lit", str(test)],
        env={**os.environ, "EDGEC_LIT_OUTPUT": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_filecheck(path: Path, tmp_path: Path) -> None:
    result = run_lit(FOLDER / path, tmp_path)
    if result.returncode:
        pytest.fail(result.stdout + result.stderr, pytrace=False)


def test_a_wrong_check_fails(tmp_path: Path) -> None:
    source = tmp_path / "filecheck"
    source.mkdir()
    (source / "lit.cfg.py").write_text((FOLDER / "lit.cfg.py").read_text())
    (source / "wrong.mlir").write_text(
        "// RUN: edgec-opt %s | filecheck %s\n// CHECK: func.func @other\n"
        "func.func private @main()\n"
    )
    result = run_lit(source, tmp_path / "output")
    assert result.returncode == 1
    assert "wrong.mlir" in result.stdout
