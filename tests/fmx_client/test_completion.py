"""What shells complete: commands, and the jobs, kinds and models of the server."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import Fmx
from http_service import Service
from services import ROOT, free_port

from fmx_client import completion

SHELLS = ("bash", "zsh", "fish")
SCRIPTS = {
    "bash": "complete -o default -F",
    "zsh": "#compdef fmx",
    "fish": "complete --command fmx",
}
FMX = Path(sys.executable).parent / "fmx"


def run(fmx: Fmx, **variables: str) -> str:
    """What the program prints for a shell."""
    done = subprocess.run(
        [sys.executable, "-c", "from fmx_client.cli import main; main()"],
        cwd=ROOT,
        env={**os.environ, "FMX_URL": fmx.url, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def asked(shell: str, line: str) -> Mapping[str, str]:
    """How a shell asks what may stand at the end of a line."""
    if shell == "bash":
        return {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    fish = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    return {"_TYPER_COMPLETE_ARGS": line, **fish}


def complete(fmx: Fmx, shell: str, line: str) -> str:
    """What the program offers at the end of a line."""
    return run(fmx, _FMX_COMPLETE=f"complete_{shell}", **asked(shell, line))


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(fmx: Fmx, shell: str) -> None:
    script = run(fmx, _FMX_COMPLETE=f"source_{shell}")
    assert SCRIPTS[shell] in script
    assert f"_FMX_COMPLETE=complete_{shell}" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_kinds_and_jobs(service: Service, fmx: Fmx, shell: str) -> None:
    job_id = service.submit(name="the [/odd] one")["id"]
    assert "feature-maps" in complete(fmx, shell, "fmx fea")
    assert "q1" in complete(fmx, shell, "fmx submit ")
    assert job_id in complete(fmx, shell, f"fmx show {job_id[:4]}")
    assert job_id in complete(fmx, shell, "fmx compare ")
    assert "last" in complete(fmx, shell, "fmx cancel l")
    assert "workers" in complete(fmx, shell, "fmx open w")


def test_models_are_offered(service: Service) -> None:
    service.run_to_success(model=True)
    (model_id,) = [model["id"] for model in service.get("/v1/models")["items"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMX_URL", service.server.url)
        assert [value for value, _ in completion.complete_models("")] == ["last", model_id]
        assert completion.complete_models("x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_server_that_is_away_offers_nothing_and_says_nothing(shell: str) -> None:
    offered = complete(Fmx(f"http://127.0.0.1:{free_port()}"), shell, "fmx show ")
    assert offered.strip() in {"", "_files"}, "zsh is told to offer files instead"


def test_bash_completes_by_the_script_itself(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    """As bash does it: the script is sourced, and the function that it names is called."""
    job_id = service.submit()["id"]
    script = tmp_path / "fmx.bash"
    script.write_text(run(fmx, _FMX_COMPLETE="source_bash"))
    line = f"""
        source {script}
        COMP_WORDS=(fmx show {job_id[:8]}); COMP_CWORD=2
        function_name=$(complete -p fmx | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        "$function_name" fmx {job_id[:8]} show
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{FMX.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", line],
        cwd=ROOT,
        env={**os.environ, "FMX_URL": fmx.url, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == job_id, done.stderr
