"""A question is one file and one line: the one that docs/questions.md shows is added and asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ASK = """
from api.kinds import list_kinds
from api.submissions import check_request
from fmx_store.settings import Settings
from fmx_ml.requests import plan
request = check_request({"kind": "q6", "preset": "quick"}, Settings())
print([item.kind for item in list_kinds()], [run.name for run in plan(request)])
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms with the documented question in the one file and the one line."""
    folder = tmp_path_factory.mktemp("copy")
    for room in ("fmx_ml", "fmx_store", "api", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    text = (ROOT / "docs/questions.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code) == 1
    (folder / "fmx_ml/experiments/q6.py").write_text(code[0])
    listing = folder / "fmx_ml/experiments/__init__.py"
    lines = listing.read_text().replace("import q1,", "import q6, q1,")
    listing.write_text(lines.replace("    q1.QUESTION,\n", "    q1.QUESTION,\n    q6.QUESTION,\n"))
    return folder


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    environment["FMX_DATA_DIR"] = str(folder / "data")
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_trains_and_collates_alone(copy: Path) -> None:
    spec = {"widths": [1, 2], "max_epochs": 1, "dataset": "synthetic"}
    out = copy / "out"
    run(copy, "-m", "fmx_ml", "q6", "--out", str(out), "--spec", json.dumps(spec))
    results = json.loads((out / "results.json").read_text())
    assert results["kind"] == "q6"
    assert [row[0] for row in results["tables"][0]["rows"]] == [1, 2]
    assert (out / "figure-widths.png").stat().st_size > 10_000


def test_the_server_knows_it(copy: Path) -> None:
    answer = run(copy, "-c", ASK)
    assert "'q6'" in answer
    assert "['width-2-seed-0', 'width-4-seed-0']" in answer
