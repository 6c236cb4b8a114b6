"""What is downloaded works elsewhere: without fmx, and without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_service import Service
from model_files import make_model_files

from fmx_ml.specs import CnnSpec, MlpSpec

PROGRAM = Path(__file__).with_name("elsewhere.py")
PERCEPTRON = MlpSpec(structure=((784, 16), (16, 10)))


@pytest.mark.parametrize(
    "spec",
    [CnnSpec(), CnnSpec(conv_layers=1, dense_layers=3), PERCEPTRON],
    ids=["cnn", "shallow", "mlp"],
)
def test_downloads_say_what_the_server_predicts(
    spec: CnnSpec | MlpSpec, service: Service, tmp_path: Path
) -> None:
    made = make_model_files(tmp_path, "fm2", 3, spec)
    job_id = service.run_to_success(files=made.files, model=True)
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in made.files:
        answer = service.client.get(f"/v1/jobs/{job_id}/artifacts/seed-0/{name}")
        (folder / name).write_bytes(answer.raise_for_status().content)
    told = run_elsewhere(folder)
    assert not {"torch", "fmx_ml", "fmx_store", "api"} & set(told["modules"])

    model_id = service.get(f"/v1/jobs/{job_id}")["models"][0]
    rows = list(range(60))
    answer = service.client.post(f"/v1/models/{model_id}/predict", json={"test_rows": rows})
    predictions = answer.raise_for_status().json()["predictions"]
    served = np.array([list(one["probabilities"].values()) for one in predictions])
    assert np.allclose(told["export"][:60], served, atol=1e-6)
    assert np.allclose(told["weights"][:60], served, atol=1e-5)


def run_elsewhere(folder: Path) -> dict[str, Any]:
    """What the program prints, in a process that does not see this project."""
    command = [sys.executable, "-I", str(PROGRAM), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
