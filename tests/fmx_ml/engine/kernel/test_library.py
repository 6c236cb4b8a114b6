"""How the library is built and kept, and what happens where it can't be."""

import logging
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from kernel_cases import make

from fmx_ml.engine.kernel.library import (
    BuildError,
    build,
    cache_folder,
    foresee,
    get_library,
    load,
)
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.specs import CnnSpec

BUILD = """
import sys
from pathlib import Path
from fmx_ml.engine.kernel.library import build, describe_library, load
print(describe_library(load(build(Path(sys.argv[1])))))
"""


@pytest.fixture
def forgotten() -> Generator[None]:
    """This process asks for the library anew, and afterwards once more."""
    get_library.cache_clear()
    yield
    get_library.cache_clear()


def fake_compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.usefixtures("forgotten")
def test_without_a_compiler_torch_trains(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    for _ in range(2):
        model, objective = make(CnnSpec())
        assert prepare(model, objective, "auto") == (model, objective, "torch")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "/no/such/compiler" in record.getMessage()


@pytest.mark.usefixtures("forgotten")
def test_a_failed_build_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = 'test "$1" = --version && exit 0; echo "x.cpp:1: error: no such thing" >&2; exit 1'
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert get_library() is None
    assert "x.cpp:1: error: no such thing" in caplog.text
    assert list((tmp_path / "cache" / "fmx").iterdir()) == []


def test_a_library_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kernel.so").write_text("no library")
    with pytest.raises(BuildError, match=r"kernel\.so"):
        load(tmp_path / "kernel.so")


def test_two_processes_build_at_once_and_later_ones_not_at_all(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = {builder.communicate()[0] for builder in builders}
    assert all(builder.returncode == 0 for builder in builders)
    (name,) = names
    assert name.startswith("kernel ")
    (library,) = tmp_path.iterdir()
    written = library.stat().st_mtime_ns
    assert build(tmp_path) == library
    assert library.stat().st_mtime_ns == written


def test_another_compiler_makes_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the compiler is part of the name."""
    script = (
        'case "$*" in *--version*) exit 0; esac; while test "$1" != -o; do shift; done; echo > "$2"'
    )
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, script))
    first = build(tmp_path)
    monkeypatch.setenv("CXX", f"{fake_compiler(tmp_path, script)} -DOTHER")
    assert build(tmp_path) != first


def test_a_folder_that_can_not_be_written_to_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = cache_folder()
    assert folder.is_dir()
    assert tmp_path not in folder.parents
    folder.rmdir()


def test_what_will_train_can_be_told_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    assert foresee("auto").startswith("kernel, compiled by ")
    assert foresee("torch") == "torch"
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert foresee("auto") == "torch: there is no C++ compiler (/no/such/compiler)"
