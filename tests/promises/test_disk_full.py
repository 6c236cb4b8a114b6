"""A full disk costs the runs that need it, not the server; and it heals by itself."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from fleet import Fleet

SIZE = "2m"
EPOCHS = 60


@pytest.fixture(params=["blobs", "scratch"])
def small_disk(request: pytest.FixtureRequest, fleet: Fleet) -> Generator[Path]:
    """A file system of its own, and small, below one of the data folder's folders."""
    folder = fleet.data_dir / request.param
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "fmx-test", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        fleet.close()
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (64 * 1024, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def test_a_full_disk_costs_one_run(fleet: Fleet, small_disk: Path) -> None:
    fleet.start_server()
    fleet.start_worker()
    job_id = fleet.submit(epochs=EPOCHS)
    fleet.wait_for_epochs(job_id)
    filler = fill(small_disk)
    body = fleet.wait_for_end(job_id)
    assert (body["state"], body["reason"]) == ("failed", "disk_full"), body["error"]
    [run] = fleet.runs(job_id)
    assert "No space left" in run["error"]["message"]
    assert body["models"] == []
    assert fleet.get("/healthz"), "the server goes on"
    if small_disk.name == "blobs":
        refused = fleet.client.post("/v1/jobs", json={"kind": "q1"})
        assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
        assert int(refused.headers["retry-after"]) > 0

    filler.unlink()
    assert fleet.wait_for_end(fleet.submit())["state"] == "succeeded"
    fleet.client.post(f"/v1/jobs/{job_id}/retry").raise_for_status()
    assert fleet.wait_for_end(job_id)["state"] == "succeeded"
    fleet.check()
