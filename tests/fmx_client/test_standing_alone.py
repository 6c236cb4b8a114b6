"""The client needs its own dependencies and no more."""

import subprocess
import sys

from services import ROOT

# What `pip install fmx` alone does not bring.
ABSENT = {
    "alembic",
    "api",
    "celery",
    "fastapi",
    "fmx_store",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "orjson",
    "PIL",
    "psycopg",
    "pydantic_settings",
    "redis",
    "safetensors",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "torch",
    "torchvision",
    "uvicorn",
    "worker",
}

CHECK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Absent())
import fmx_client, fmx_client.demo.__main__
from fmx_client.cli import main
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("the check does not check")
sys.argv = ["fmx", "--help"]
main()
"""


def test_import_and_help_need_no_torch_no_numpy_no_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout
