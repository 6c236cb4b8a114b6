"""PostgreSQL, Redis and S3: a job from its submission to its deletion, by real processes."""

import hashlib
from pathlib import Path

import httpx
import pytest
from own_pictures import write_folder
from services import Column
from stack import fmx_data, serve, submit, wait_for_end, wait_until

from fmx_client import Client
from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.fsck import check


@pytest.mark.services
def test_a_job_and_its_files(
    engines_column: Column, s3_storage: dict[str, str], tmp_path: Path
) -> None:
    column = engines_column.on(s3_storage)
    store = open_store(column.settings())
    pictures = str(write_folder(tmp_path / "pictures"))
    assert fmx_data(column, "register", "creatures", "--folder", pictures).returncode == 0
    with serve(column) as (process, http), Client(str(http.base_url)) as client:
        job_id = submit(http, preset="quick", spec={"dataset": "creatures", "max_epochs": 2})
        body = wait_for_end(http, job_id)
        assert body["state"] == "succeeded", "".join(process.lines)
        listed = list(client.artifacts(job_id))
        learnt = client.dataset("creatures").sha256
        assert {item.sha256 for item in listed} | {learnt} == set(store.digests())
        for number, item in enumerate(listed):
            file = client.download(job_id, item, tmp_path / str(number))
            assert hashlib.sha256(file.read_bytes()).hexdigest() == item.sha256
        sent = http.get(f"/v1/jobs/{job_id}/artifacts/{listed[0].path}")
        assert sent.status_code == httpx.codes.TEMPORARY_REDIRECT
        said = client.predict(body["models"][0], test_rows=[0, 1])
        assert len(said.predictions) == 2
        figure = http.get(f"/v1/jobs/{job_id}/artifacts/figure-1-loss.png", params={"inline": True})
        assert figure.content.startswith(b"\x89PNG")
        check_everything(column)
        client.delete(job_id)
        client.remove_dataset("creatures")
        wait_until(lambda: not list(store.digests()), 10)
        check_everything(column)
        assert process.stop() == 0


def check_everything(column: Column) -> None:
    """Record and bucket agree, down to every byte."""
    settings = column.settings()
    db = Database(settings.database)
    assert check(db, open_store(settings), deep=True, min_age_seconds=0).findings == []
    db.close()
