"""The file of measured schedules: lines, choices among them, and what they do."""

from __future__ import annotations

import json
import multiprocessing
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import edgec
from edgec import driver
from edgec.errors import InvalidInput
from edgec.options import Options
from edgec.target import Target
from edgec.tuning_log import Entry, append, best_entries, fingerprint, read_log

TARGET = Target.parse("x86-64-v3")
LAYER = (
    "sq.conv 1x4x6x6 weight=8x4x3x3 dense stride=1x1 low=1x1 high=1x1 dilation=1x1 "
    "groups=1 bias epilogue=[]"
)
ENTRY = Entry(
    target=fingerprint(TARGET),
    threads=1,
    layer=LAYER,
    family="dense",
    settings={"filters": 4, "vectors": 1, "chunk": 2},
    ms=0.5,
    default_ms=0.6,
    count=3,
)


def emitted(log: Path, **options: object) -> str:
    """The IR after the tensor-level passes of a model of one convolution."""
    torch.manual_seed(0)
    model = torch.nn.Conv2d(4, 8, 3, padding=1).eval()
    chosen = Options(tuning_log=log, **options)  # pyright: ignore[reportArgumentType] tests
    x = torch.randn(1, 4, 6, 6)
    text = driver.emit(model, x, form="mlir", target=TARGET, options=chosen)
    return text.decode()


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    entries = [ENTRY, replace(ENTRY, ms=0.25, settings={})]
    for entry in entries:
        append(log, entry)
    assert read_log(log) == entries
    assert [entry.where for entry in read_log(log)] == [f"{log}:1", f"{log}:2"]
    assert len(log.read_text().splitlines()) == 2


def test_the_last_line_counts() -> None:
    fast, slow = (replace(ENTRY, ms=ms) for ms in (0.2, 0.4))
    others = [replace(fast, threads=2), replace(fast, target="else")]
    assert best_entries([fast, slow, *others], TARGET, 1) == {LAYER: slow}
    assert best_entries([slow, fast], TARGET, 1) == {LAYER: fast}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "`version` must be 1, got 2"),
        ({"count": 0}, "`count` must be positive, got 0"),
        ({"ms": "fast"}, "`ms` has the wrong type: 'fast'"),
        ({"threads": True}, "`threads` has the wrong type"),
        ({"settings": {"rows": 1.5}}, "setting `rows` must be an integer"),
        ({"speed": 1}, "must have the fields"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    log = tmp_path / "log.jsonl"
    append(log, ENTRY)
    wrong = {**json.loads(ENTRY.to_json()), **change}
    log.write_text(log.read_text() + "\n" + json.dumps(wrong) + "\n")
    with pytest.raises(InvalidInput) as caught:
        read_log(log)
    assert str(caught.value).startswith(f"{log}:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"version": 1, "tar', "not a line of JSON"),
        ("[" * 100_000, "not a line of JSON"),
        ("1" * 5000, "not a line of JSON"),
        ("[1]", "must be an object"),
    ],
    ids=["cut", "deep", "long", "list"],
)
def test_a_line_that_is_no_entry(tmp_path: Path, line: str, message: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(line)
    with pytest.raises(InvalidInput, match=message):
        read_log(log)


def test_a_last_line_without_an_end_stays_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(ENTRY.to_json())
    append(log, ENTRY)
    assert read_log(log) == [ENTRY, ENTRY]


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for log, reason in (
        (tmp_path / "no.jsonl", "No such file"),
        (tmp_path, "Is a dir"),
    ):
        with pytest.raises(InvalidInput, match=f"log '{log}' cannot be read: {reason}"):
            emitted(log)


def test_what_does_not_fit_is_not_half_there(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append(log, ENTRY)
    whole = log.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 9, limits[1]))
        with pytest.raises(OSError, match=r"only 9 of .* bytes fit into"):
            append(log, ENTRY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.read_bytes() == whole


def _append_many(log: Path, threads: int) -> None:
    for _ in range(100):
        append(log, replace(ENTRY, threads=threads))


def test_several_processes_may_append(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_append_many, args=(log, number)) for number in (1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = [entry.threads for entry in read_log(log)]
    assert (found.count(1), found.count(2)) == (100, 100)


# What the compiler makes of it


def test_the_schedule_is_that_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append(log, replace(ENTRY, layer="another layer"))
    without = emitted(log)
    append(log, ENTRY)
    text = emitted(log)
    assert 'kernel = #sq.kernel<"dense", {chunk = 2, filters = 4, vectors = 1}>' in text
    assert text != without
    assert emitted(log) == text


def test_the_cache_tells_schedules_apart(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    model = torch.nn.Conv2d(4, 8, 3, padding=1).eval()
    x = torch.randn(1, 4, 6, 6)
    options = Options(cache=tmp_path / "cache", tuning_log=log)

    def cached(threads: int) -> bool:
        built = driver.build(model, x, target=TARGET, threads=threads, options=options)
        return built.report["is_cached"]

    append(log, replace(ENTRY, threads=2))
    assert [cached(1), cached(1)] == [False, True]
    assert [cached(2), cached(2)] == [False, True]
    append(log, replace(ENTRY, ms=0.1, settings={**ENTRY.settings, "vectors": 2}))
    assert [cached(1), cached(2)] == [False, True]


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("pattern", {}, r"family must be one of \['dense'\], got 'pattern'"),
        ("dense", {"filters": 4}, "settings of family 'dense' must be"),
        (
            "dense",
            {"filters": 0, "vectors": 1, "chunk": 1},
            "`filters` must be at least",
        ),
        (
            "dense",
            {"filters": 9, "vectors": 1, "chunk": 1},
            "`filters` must be at most 8",
        ),
        (
            "dense",
            {"filters": 8, "vectors": 9, "chunk": 1},
            "at most 64, got 8 times 9",
        ),
    ],
)
def test_settings_that_do_not_fit_the_layer(
    tmp_path: Path, family: str, settings: dict[str, int], reason: str
) -> None:
    log = tmp_path / "log.jsonl"
    append(log, replace(ENTRY, family=family, settings=settings))
    with pytest.raises(InvalidInput, match=reason) as caught:
        emitted(log)
    assert str(caught.value).startswith(f"{log}:1: sq.conv")


def test_options_that_change_schedules_exclude_the_log() -> None:
    with pytest.raises(InvalidInput, match="`tuning_log` needs `share_loads`"):
        Options(tuning_log="log", share_loads=False)
    with pytest.raises(InvalidInput, match="`tuning_log` must be the path of a file"):
        Options(tuning_log=3)  # pyright: ignore[reportArgumentType] it is wrong


def test_results_are_right_with_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    model = torch.nn.Conv2d(4, 8, 3, padding=1).eval()
    x = torch.randn(1, 4, 6, 6)
    generic = Target.parse("generic")
    append(log, replace(ENTRY, target=fingerprint(generic)))
    compiled = edgec.compile(
        model, x, target=generic, threads=1, options=Options(tuning_log=log)
    )
    assert "chunk=2 filters=4 vectors=1" in str(compiled.report())
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
