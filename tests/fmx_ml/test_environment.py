import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fmx_ml import environment
from fmx_ml.environment import code_revision, describe_environment, package_versions


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, where the code seems to lie."""
    monkeypatch.delenv("FMX_REVISION", raising=False)
    monkeypatch.setattr(environment.fmx_ml, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_the_revision_is_the_commit(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert code_revision() == commit
    (repository / "__init__.py").write_text("changed")
    assert code_revision() == f"{commit}-dirty"


def test_a_tag_does_not_hide_the_commit(repository: Path) -> None:
    git(repository, "tag", "v1")
    assert code_revision() == git(repository, "rev-parse", "HEAD")


@pytest.mark.usefixtures("repository")
def test_an_image_names_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMX_REVISION", "abc")
    assert code_revision() == "abc"


def test_outside_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMX_REVISION", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(environment.fmx_ml, "__file__", str(tmp_path / "__init__.py"))
    assert code_revision() is None
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    assert code_revision() is None


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = package_versions()
    assert {"fmx", "torch", "torchvision", "numpy", "onnx", "onnxruntime"} <= set(versions)
    assert versions["numpy"]
    monkeypatch.setattr(environment, "_PACKAGES", ("a-package-that-does-not-exist",))
    assert package_versions()["a-package-that-does-not-exist"] is None


def test_the_machine() -> None:
    described = describe_environment()
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))
    assert described["cpu"]
    assert described["platform"]


def test_a_cpu_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text

    def refuse(path: Path, *arguments: Any, **named: Any) -> str:
        if path == Path("/proc/cpuinfo"):
            raise FileNotFoundError
        return read_text(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "some-machine")
    assert describe_environment()["cpu"] == "some-machine"
