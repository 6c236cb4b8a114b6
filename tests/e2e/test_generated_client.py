"""A client that openapi-python-client makes of the OpenAPI document, at work on a real server."""

import compileall
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image
from services import ROOT

CONFIG = ROOT / "tests" / "e2e" / "generator.yml"

# What a user of the generated package writes. It is a program of its own: the package is made by
# the test, so nothing here could import it.
PROGRAM = """
import sys, time
from fmx_generated import Client
from fmx_generated.api.jobs import get_job, get_results, post_job
from fmx_generated.api.models import predict
from fmx_generated.api.runs import get_metrics, get_runs
from fmx_generated.models import PredictFilesBody, PredictRequest, ProblemBody, Q1Request, Q1Spec
from fmx_generated.types import File

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
request = Q1Request.from_dict({"kind": "q1", "preset": "quick", "name": "generated"})
request.spec = Q1Spec.from_dict({"dataset": "synthetic", "max_epochs": 1})
job = post_job.sync(client=client, body=request)
while job.state not in ("succeeded", "failed", "cancelled"):
    time.sleep(0.2)
    job = get_job.sync(job.id, client=client)
print("job", job.state, job.name)
print("tables", len(get_results.sync(job.id, client=client).tables))
(run,) = get_runs.sync(job.id, client=client).items
print("rows", len(get_metrics.sync(run.id, client=client).rows))
answer = predict.sync(job.models[0], client=client, body=PredictRequest(test_rows=[0, 1]))
print("labels", *[prediction.label for prediction in answer.predictions])
picture = File(open(sys.argv[2], "rb"), "shoe.png", "image/png")
answer = predict.sync(job.models[0], client=client, body=PredictFilesBody(files=[picture]))
print("file", answer.predictions[0].file)
request.spec.max_epochs = 0
refused = post_job.sync(client=client, body=request)
assert isinstance(refused, ProblemBody)
print("refused", refused.errors[0].pointer)
"""


@pytest.fixture(scope="module")
def package(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the generated package; its generator had nothing to complain of."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "openapi.json").write_text(client.get("/openapi.json").text)
    command = ["-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    command += ["--config", str(CONFIG), "--meta", "none", "--output-path", "fmx_generated"]
    done = subprocess.run(
        [sys.executable, *command, "--fail-on-warning"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "warning" not in said.lower(), said
    return folder


def test_everything_is_generated_and_compiles(client: httpx.Client, package: Path) -> None:
    generated = package / "fmx_generated"
    document = json.loads((package / "openapi.json").read_text())
    operations = {o["operationId"] for item in document["paths"].values() for o in item.values()}
    made = {path.stem for path in (generated / "api").glob("*/*.py")}
    assert operations <= made
    assert compileall.compile_dir(generated, quiet=1)
    assert client.get("/healthz").status_code == 200


def test_a_job_and_a_prediction(client: httpx.Client, package: Path, tmp_path: Path) -> None:
    picture = tmp_path / "shoe.png"
    Image.new("L", (40, 30)).save(picture)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(client.base_url), str(picture)],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["job"] == "succeeded generated"
    assert int(said["tables"]) >= 1
    assert said["rows"] == "1"
    assert len(said["labels"].split()) >= 2
    assert said["file"] == "shoe.png"
    assert said["refused"] == "/spec/max_epochs"
