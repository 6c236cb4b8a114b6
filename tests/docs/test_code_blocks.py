"""Every block of code in the documents is run by a test, or held against what it speaks of."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_blocks import ROOT, Block, find_blocks
from pydantic import ValidationError
from typer.main import get_command

from fmx_client import cli
from fmx_ml.experiments import QUESTIONS
from fmx_ml.requests import parse_request
from fmx_store.admin.__main__ import app as admin_app
from scripts.docs_site.question_pages import make_pages

FILES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
BLOCKS = [
    *(block for file in FILES for block in find_blocks(file)),
    *(block for page, text in make_pages().items() for block in find_blocks(page, text)),
]

# Blocks that a test runs as they stand, and that test.
RUN_BY = {
    ("README.md", "sh"): "tests/e2e/test_readme.py",
    ("README.md", "python"): "tests/e2e/test_readme.py",
    ("docs/questions.md", "python"): "tests/fmx_ml/experiments/test_sixth_question.py",
}

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TARGETS = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_fmx(words: Sequence[str]) -> None:
    """The command is there, and has these options."""
    command: Any = get_command(cli.app)
    left = list(words)
    while hasattr(command, "commands"):
        name = left.pop(0)
        command = command.commands[name]
        if name in {"admin", "data"}:  # as `fmx admin data`
            command = get_command(admin_app)
            command = command.commands["data"] if name == "data" else command
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word.partition("=")[0] for word in left if word.startswith("--")}
    assert given <= known, f"{' '.join(words)}: no {given - known}"


def check_make(words: Sequence[str]) -> None:
    """The target is there."""
    assert words[0] in TARGETS


def check_python(words: Sequence[str]) -> None:
    """The module is there."""
    assert words[0] == "-m"
    assert importlib.util.find_spec(words[1]) is not None


def check_docker(words: Sequence[str]) -> None:
    """The services are there, and what they run is ours."""
    assert words[0] == "compose"
    if words[1] == "run":
        service, program, *rest = [word for word in words[2:] if word != "--rm"]
        assert service in COMPOSE["services"]
        CHECKS[program](rest)


def check_kubectl(words: Sequence[str]) -> None:
    """The files are there, and what a container runs is ours."""
    if "--kustomize" in words:
        folder = ROOT / words[words.index("--kustomize") + 1]
        assert (folder / "kustomization.yaml").is_file()
    if "--" in words:
        program, *rest = words[words.index("--") + 1 :]
        CHECKS[program](rest)


def check_copy(words: Sequence[str]) -> None:
    """What is copied is there, or is the data folder's."""
    *_, source, _target = words
    assert source.startswith(".fmx/") or (ROOT / source).exists()


def is_run_elsewhere(_words: Sequence[str]) -> None:
    """A program of the system: nothing of ours is named."""


CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "fmx": check_fmx,
    "make": check_make,
    "python": check_python,
    "docker": check_docker,
    "kubectl": check_kubectl,
    "cp": check_copy,
    "chmod": is_run_elsewhere,
    "mkdir": is_run_elsewhere,
    "echo": is_run_elsewhere,
    "nvidia-cuda-mps-control": is_run_elsewhere,
    "export": is_run_elsewhere,
    "pg_dump": is_run_elsewhere,  # tests/deploy/test_backups.py runs both
    "sqlite3": is_run_elsewhere,
}


def commands_of(text: str) -> list[list[str]]:
    """The commands of a block, without comments and the variables that go before."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [_skip_variables(words) for words in lines if words]


def _skip_variables(words: list[str]) -> list[str]:
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def check_commands(block: Block) -> None:
    """Bash can read it, and each command is one that there is."""
    read = subprocess.run(["bash", "-n"], input=block.text, text=True, check=False)
    assert read.returncode == 0
    for program, *words in commands_of(block.text):
        if program.startswith((".", "/")):
            assert (ROOT / program).is_file()
        else:
            CHECKS[program](words)


def check_drawing(block: Block) -> None:
    """The files that it names are there; each line of a room begins with some."""
    room = ROOT
    for line in block.text.splitlines():
        names = re.match(r"(  )?((?:[\w.-]+(?:\.py|\.json|/) ?)+)(?:  |\[|$)", line)
        if names is None:
            continue
        if names[1] is None:
            room = ROOT / names[2].split()[0]
            assert room.exists(), line
        else:
            for name in names[2].split():
                assert (room / name).exists(), line


def check_json(block: Block) -> None:
    """It is a request, or the spec of a question."""
    value = json.loads(block.text)
    if "kind" in value:
        parse_request(value)
        return
    assert any(_takes(question.spec, value) for question in QUESTIONS)


def _takes(spec: Any, value: Any) -> bool:
    try:
        spec.model_validate(value)
    except ValidationError:
        return False
    return True


def check_yaml(block: Block) -> None:
    """It can be read, and the folders of ours that it names are there."""
    value = yaml.safe_load(block.text)
    for path in (*value.get("resources", ()), *value.get("components", ())):
        assert (ROOT / path.removeprefix("../fmx/") / "kustomization.yaml").is_file()


def check_toml(block: Block) -> None:
    """It can be read, and says something."""
    assert tomllib.loads(block.text)


def check_python_code(block: Block) -> None:
    """A test runs it."""
    assert (block.file, "python") in RUN_BY
    compile(block.text, str(block), "exec")


def check_untagged(block: Block) -> None:
    """Commands, where the first word is a program; else a drawing."""
    first = _skip_variables(block.text.split())[0]
    (check_commands if first in CHECKS or first.startswith(".") else check_drawing)(block)


BY_LANGUAGE: Mapping[str, Callable[[Block], None]] = {
    "": check_untagged,
    "json": check_json,
    "python": check_python_code,
    "toml": check_toml,
    "yaml": check_yaml,
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_block_is_what_it_says(block: Block) -> None:
    if block.language == "sh" and (block.file, "sh") not in RUN_BY:
        check_commands(block)
    elif block.language != "sh":
        BY_LANGUAGE[block.language](block)


@pytest.mark.parametrize(("document", "test"), [(d, t) for (d, _), t in RUN_BY.items()])
def test_the_tests_that_run_blocks_read_them(document: str, test: str) -> None:
    assert Path(document).name in (ROOT / test).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "fmx no-such-command\n",
        "fmx jobs --no-such-option\n",
        "fmx admin keys create --own me\n",
        "make no-such-target\n",
        "python -m no_such_module\n",
        "cp deploy/no-such-file .env\n",
        "no-such-program\n",
        "docker compose run --rm nobody fmx jobs\n",
        "kubectl apply --kustomize deploy/nowhere\n",
    ],
)
def test_what_there_is_not_is_noticed(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_commands(Block("x.md", 1, "sh", text))


def test_a_file_that_is_gone_is_noticed() -> None:
    drawing = "fmx_store/\n  settings.py       every variable\n  no_such.py        nothing\n"
    with pytest.raises(AssertionError, match=r"no_such\.py"):
        check_drawing(Block("x.md", 1, "", drawing))
    assert shutil.which("bash"), "the commands were read by it"
