"""The README's lines, run as they stand but for the port and the number of epochs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
from code_blocks import find_texts
from PIL import Image
from stack import job_of

README = "README.md"
ADDRESS = "http://127.0.0.1:8000"
SHORT = '"spec": {"dataset": "synthetic", "max_epochs": 1}'


def run(command: list[str], client: httpx.Client, folder: Path) -> str:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "FMX_URL": str(client.base_url)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def at(client: httpx.Client, text: str) -> str:
    """The text with the address of this server."""
    return text.replace(ADDRESS, str(client.base_url).rstrip("/"))


def test_the_curl_lines_go_from_submit_to_prediction(client: httpx.Client, tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((40, 30), np.uint8))
    picture.save(tmp_path / "shoe.png")
    picture.save(tmp_path / "bag.jpg")
    script = at(client, "\n".join(find_texts(README, "sh")))
    assert script.count('"preset": "quick"') == 1
    script = script.replace('"preset": "quick"', f'"preset": "quick", {SHORT}')
    said = run(["bash", "-euo", "pipefail", "-c", script], client, tmp_path)
    assert '"state":"succeeded"' in said
    assert "epoch,train_loss" in said
    assert said.count('"probabilities"') == 6, "three rows, two files, one by an alias"
    assert said.count("event: end") == 1
    assert re.search(r"^\S+Z seed-0 .*epoch 1", said, re.MULTILINE), "the log"
    assert '"/spec/max_epochs"' in said, "the error points at the place"
    assert (tmp_path / "figure-1-loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    (maps,) = json.loads((tmp_path / "maps.json").read_text())["feature_maps"]
    assert [layer["name"] for layer in maps["layers"]] == ["conv1", "conv2"]
    assert (tmp_path / "artifacts.zip").read_bytes().startswith(b"PK")


def test_the_python_lines_work(client: httpx.Client, tmp_path: Path) -> None:
    (program,) = find_texts(README, "python")
    assert program.count('spec={"seeds": [0, 1]}') == 1
    short = '{"seeds": [0, 1], "dataset": "synthetic", "max_epochs": 1}'
    program = at(client, program.replace('{"seeds": [0, 1]}', short))
    said = run([sys.executable, "-c", program], client, tmp_path)
    assert "q1.accuracy.test 0.9816" in said
    newest = client.get("/v1/jobs").json()["items"][0]
    assert job_of(client, newest["id"])["runs"]["succeeded"] == 2


def test_the_commands_work(client: httpx.Client, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "shoe.png")
    (script,) = [text for text in find_texts(README, "") if text.startswith("fmx submit")]
    assert script.count("--preset quick") == 1
    short = "--preset quick --set dataset=synthetic --set max_epochs=1"
    said = run(["bash", "-euc", script.replace("--preset quick", short)], client, tmp_path)
    assert "succeeded" in said
    assert "Accuracies" in said
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figures" / "figure-1-loss.png").is_file()
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
