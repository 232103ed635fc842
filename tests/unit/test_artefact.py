"""Compiled models on disk: what is stored, what is checked, what is imported."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import numpy as tensors
from safetensors import safe_open
from torch import nn

import edgec
from edgec import driver
from edgec.artefact import FORMAT_VERSION, Artefact
from edgec.errors import InvalidArtefact, InvalidInput
from edgec.options import Options
from edgec.runtime.tensor_file import DTYPES, TensorFile, read_tensors, write_tensors
from edgec.target import Target
from tests.importing import sample
from tests.networks import network

# The file format

CONTENT = st.builds(
    TensorFile,
    st.dictionaries(st.text().filter(lambda name: name != "digest"), st.text()),
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"),
        st.sampled_from(sorted(DTYPES)).flatmap(
            lambda name: arrays_of.arrays(
                DTYPES[name],
                arrays_of.array_shapes(min_dims=0, min_side=0, max_side=20),
            )
        ),
        max_size=5,
    ),
)


def assert_equal(found: TensorFile, expected: TensorFile) -> None:
    assert found.metadata == expected.metadata
    assert found.tensors.keys() == expected.tensors.keys()
    for name, array in expected.tensors.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)


@given(content=CONTENT)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: TensorFile
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    write_tensors(path, content)
    assert_equal(read_tensors(path), content)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@given(content=CONTENT, seed=st.integers(0))
def test_a_changed_byte_is_noticed_or_means_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: TensorFile, seed: int
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    write_tensors(path, content)
    data = bytearray(path.read_bytes())
    data[seed % len(data)] ^= 1 + seed // len(data) % 255
    path.write_bytes(data)
    try:
        found = read_tensors(path)
    except InvalidArtefact:
        return
    assert_equal(found, content)  # spaces after the header, case of digits in it


@pytest.mark.parametrize(
    ("place", "flip", "reason"),
    [
        (0, 4, "its header is not JSON"),  # of which four bytes are missing
        (3, 4, "truncated or no compiled model: no header is in its 984 bytes"),
        (9, 128, "its header is not JSON"),
        (10, 4, "edgec did not write it, or its header is damaged"),
        (8, 0x20, "its header is not JSON"),
        (100, 4, "the digest that was written"),
        (-1, 4, "the digest that was written"),
        (-100, 4, "the digest that was written"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, place: int, flip: int, reason: str) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, TensorFile({"a": "b"}, {"w": np.ones(99)}))
    data = bytearray(path.read_bytes())
    data[place] ^= flip
    path.write_bytes(data)
    with pytest.raises(
        InvalidArtefact, match=rf"x\.safetensors' is .*{reason}"
    ) as info:
        read_tensors(path)
    assert len(str(info.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (0, "is empty"),
        (1, "no header is in its 1 bytes"),
        (7, "no header is in its 7 bytes"),
        (8, "no header is in its 8 bytes"),
        (20, "no header is in its 20 bytes"),
        (-1, "is truncated: 791 of 792 bytes of arrays are left"),
        (-792, "is truncated: 0 of 792 bytes of arrays are left"),
    ],
)
def test_truncation_is_noticed(tmp_path: Path, size: int, reason: str) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, TensorFile({"a": "b"}, {"w": np.ones(99)}))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InvalidArtefact, match=rf"x\.safetensors' .*{reason}"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("3", "its header is not a JSON object"),
        ('{"__metadata__": 3}', "edgec did not write it"),
        ('{"__metadata__": {"digest": "0"}, "w": 3}', "does not describe its content"),
        (
            '{"__metadata__": {"digest": "0"}, "w": {"data_offsets": [0, "4"]}}',
            "does not describe its content",
        ),
    ],
)
def test_headers_of_something_else(tmp_path: Path, header: str, reason: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(9))
    with pytest.raises(InvalidArtefact, match=rf"x\.safetensors' is .*{reason}"):
        read_tensors(path)


def test_others_can_read_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    odd, even = np.arange(3.0), np.arange(32, dtype=np.float32).reshape(4, 8)
    write_tensors(path, TensorFile({"a": "b"}, {"odd": odd, "zeven": even}))
    # Its path type, PathLike, is generic and given without a parameter.
    found = tensors.load_file(path)  # pyright: ignore[reportUnknownMemberType]
    np.testing.assert_array_equal(found["odd"], odd)
    np.testing.assert_array_equal(found["zeven"], even)
    with safe_open(path, "np") as file:
        assert file.metadata()["a"] == "b"


def test_whole_cache_lines_are_aligned(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    content = {str(n): np.zeros(n, np.float32) for n in (1, 16, 5, 32, 48)}
    write_tensors(path, TensorFile({}, content))
    found = read_tensors(path).tensors
    for name in ("16", "32", "48"):
        assert found[name].__array_interface__["data"][0] % 64 == 0
        assert not found[name].flags.writeable


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.mkdir()
    with pytest.raises(OSError, match=r"x\.safetensors'"):
        write_tensors(path, TensorFile({}, {}))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(file)
    content = TensorFile({"a": "b"}, {})
    for _ in range(2):
        write_tensors(link, content)
        assert link.is_symlink()
        assert_equal(read_tensors(file), content)


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"  # as /dev/null would be replaced, for everybody
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_tensors(pipe, TensorFile({}, {}))
    assert pipe.is_fifo()
    found = tmp_path / "found"
    found.write_bytes(os.read(reader, 10_000))
    os.close(reader)
    assert_equal(read_tensors(found), TensorFile({}, {}))


def test_a_pipe_without_a_name_is_written_to() -> None:
    reader, writer = os.pipe()
    write_tensors(Path(f"/dev/fd/{writer}"), TensorFile({"a": "b"}, {}))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert b'"a":"b"' in file.read()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.safetensors"
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*/none': '.*x"):
        write_tensors(path, TensorFile({}, {}))


# Compiled models


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    model, x = network("plain")
    return driver.build(model, x, options=Options(use_cache=False))


def test_a_saved_model_computes_the_same(artefact: Artefact, tmp_path: Path) -> None:
    _, x = network("plain")
    fresh = edgec.CompiledModel(artefact, threads=1)
    fresh.save(tmp_path / "m.edgec")
    loaded = edgec.load(str(tmp_path / "m.edgec"), threads=2)
    assert loaded.threads == 2
    assert torch.equal(loaded(x), fresh(x))
    assert loaded.inputs == fresh.inputs
    assert loaded.outputs == fresh.outputs
    mine, theirs = loaded.report(), fresh.report()
    assert "target native, compiled; arena" in str(theirs)
    assert "target native, loaded; arena" in str(mine)
    assert replace(mine, seconds={}, is_loaded=False) == replace(theirs, seconds={})
    assert mine.seconds.keys() == theirs.seconds.keys()


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, copy.copy])
def test_a_model_is_saved_and_not_pickled(
    artefact: Artefact, take: Callable[[object], object]
) -> None:
    model = edgec.CompiledModel(artefact, threads=1)
    with pytest.raises(TypeError, match=r"save\(\) it, and edgec.load\(\) the file"):
        take(model)


def test_the_same_model_gives_the_same_bytes(
    artefact: Artefact, tmp_path: Path
) -> None:
    one, two = tmp_path / "1.edgec", tmp_path / "2.edgec"
    artefact.save(one)
    Artefact.read(one).save(two)
    assert one.read_bytes() == two.read_bytes()


def test_the_loaded_model_outlives_its_file(artefact: Artefact, tmp_path: Path) -> None:
    _, x = network("plain")
    path = tmp_path / "m.edgec"
    artefact.save(path)
    loaded = edgec.load(path, threads=1)
    before = loaded(x)
    path.unlink()
    assert torch.equal(loaded(x), before)


@pytest.mark.parametrize("threads", [None, 3])
def test_threads_are_remembered(tmp_path: Path, threads: int | None) -> None:
    model, x = network("line")
    options = Options(use_cache=False)
    compiled = edgec.compile(model, x, threads=threads, options=options)
    compiled.save(tmp_path / "m.edgec")
    usual = len(os.sched_getaffinity(0))
    assert edgec.load(tmp_path / "m.edgec").threads == (threads or usual)
    assert edgec.load(tmp_path / "m.edgec", threads=1).threads == 1


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Local(nn.Module):
    """Returns what its class says."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> Any:
        """Two tensors."""
        return self.kind(x + 1, x * 2)


def test_classes_of_the_model(tmp_path: Path) -> None:
    x = sample(3)
    compiled = edgec.compile(Local(Pair), x, options=Options(use_cache=False))
    assert compiled(x).second.equal(x * 2)
    with pytest.raises(InvalidInput, match="register the class with a serialized_type"):
        compiled.save(tmp_path / "m.edgec")
    assert not list(tmp_path.iterdir())


@dataclass
class Record:
    """A class that torch knows by name."""

    left: torch.Tensor
    right: torch.Tensor


torch.export.register_dataclass(Record, serialized_type_name="test_artefact.Record")


def test_registered_classes_are_stored_by_name(tmp_path: Path) -> None:
    x, path = sample(3), tmp_path / "m.edgec"
    compiled = edgec.compile(Local(Record), x, options=Options(use_cache=False))
    compiled.save(path)
    found = edgec.load(path)(x)
    assert isinstance(found, Record)
    assert torch.equal(found.right, x * 2)
    code = f"import edgec; edgec.load({str(path)!r})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "edgec.errors.InvalidInput: a class in the model's" in result.stderr
    assert "test_artefact.Record" in result.stderr


# Files that cannot be loaded


def damaged(artefact: Artefact, path: Path, **changes: str | None) -> Path:
    """The model with other metadata, as a sound file."""
    artefact.save(path)
    file = read_tensors(path)
    metadata = {**file.metadata, **changes}
    kept = {name: value for name, value in metadata.items() if value is not None}
    write_tensors(path, TensorFile(kept, file.tensors))
    return path


def test_another_version(artefact: Artefact, tmp_path: Path) -> None:
    changes = {"format_version": "99", "edgec_version": "7.1"}
    path = damaged(artefact, tmp_path / "m.edgec", **changes)
    message = (
        r"m\.edgec' has format version 99, written by edgec 7\.1; "
        rf"edgec .* reads version {FORMAT_VERSION}: compile the model again"
    )
    with pytest.raises(InvalidArtefact, match=message):
        edgec.load(path)


def test_other_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TensorFile({}, {"w": np.zeros(3)}))
    with pytest.raises(InvalidArtefact, match="has no format 'edgec compiled model'"):
        edgec.load(path)
    for metadata in (None, {"format": "pt"}):
        # Its path type, PathLike, is generic and given without a parameter.
        tensors.save_file(  # pyright: ignore[reportUnknownMemberType]
            {"w": np.zeros(3)}, path, metadata
        )
        message = r"weights\.safetensors' is a safetensors file but no compiled model"
        with pytest.raises(InvalidArtefact, match=message):
            edgec.load(path)


def test_a_model_that_is_not_compiled(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (sample(3),)), path)
    message = r"m\.pt2' is no compiled model but a zip archive, .* compile it first"
    with pytest.raises(InvalidArtefact, match=message):
        edgec.load(path)


@pytest.mark.parametrize(
    "changes",
    [{"target": None}, {"program": "{}"}, {"weights": '["none"]'}, {"convention": "3"}],
)
def test_missing_parts(
    artefact: Artefact, tmp_path: Path, changes: dict[str, str | None]
) -> None:
    path = damaged(artefact, tmp_path / "m.edgec", **changes)
    with pytest.raises(InvalidArtefact, match="lacks or garbles"):
        edgec.load(path)


def test_a_machine_that_this_one_is_not(artefact: Artefact, tmp_path: Path) -> None:
    features = artefact.target.features | {"avx99", "warp"}
    other = replace(artefact, target=replace(artefact.target, features=features))
    other.save(tmp_path / "m.edgec")
    message = r"m\.edgec': code for target 'native' .* lacks avx99, warp"
    with pytest.raises(InvalidArtefact, match=message):
        edgec.load(tmp_path / "m.edgec")


def test_models_for_other_machines_can_be_built(tmp_path: Path) -> None:
    host = Target.parse("generic").architecture
    name = "x86-64-v3" if host == "aarch64" else "aarch64"
    model, x = network("line")
    driver.build(model, x, target=name).save(tmp_path / "m.edgec")
    with pytest.raises(InvalidArtefact, match="and cannot run here: this machine is"):
        edgec.load(tmp_path / "m.edgec")


# Imports

_RUN = """
import sys
import numpy as np
import edgec
model = edgec.load(sys.argv[1], threads=2)
x = np.load(sys.argv[2])
y = model(x)
assert type(y) is np.ndarray
np.save(sys.argv[3], y)
print(*{name.split(".")[0] for name in sys.modules})
"""


def test_a_model_runs_without_torch_and_xdsl(
    artefact: Artefact, tmp_path: Path
) -> None:
    _, x = network("plain")
    paths = [tmp_path / name for name in ("m.edgec", "x.npy", "y.npy")]
    artefact.save(paths[0])
    np.save(paths[1], x.numpy())
    command = [sys.executable, "-c", _RUN, *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(result.stdout.split()) & {"torch", "xdsl", "safetensors"}
    expected = edgec.CompiledModel(artefact, threads=1)(x)
    np.testing.assert_array_equal(np.load(paths[2]), expected.numpy())


def test_the_parts_are_json(artefact: Artefact, tmp_path: Path) -> None:
    artefact.save(tmp_path / "m.edgec")
    metadata = read_tensors(tmp_path / "m.edgec").metadata
    assert json.loads(metadata["target"])["name"] == "native"
    assert json.loads(metadata["program"])["inputs"][0][1] == [1, 3, 13, 11]
    assert json.loads(metadata["report"])["layers"]
