"""A server with something to see on every page."""

import io
from dataclasses import dataclass

from http_service import RESULTS, Service, epoch
from model_files import ModelFiles
from PIL import Image

from fmx_store import claims

COMPARISON = {
    "id": "q1.accuracy.test",
    "published": 0.9816,
    "ours": {"mean": 0.98, "std": 0.001, "n": 3, "values": [0.98, 0.981, 0.979]},
    "interval": [0.974, 0.986],
    "verdict": "inside",
    "reason": None,
    "errata": [1],
}
ERRATUM = {"number": 1, "where": "Table 1", "says": "one thing", "done": "another"}
FIGURE = {"number": "1", "title": "Loss", "artifacts": ["figure-1.png", "figure-1.csv"]}
FULL_RESULTS = {
    **RESULTS,
    "comparisons": [COMPARISON, {**COMPARISON, "id": "q1.b", "verdict": "outside", "errata": []}],
    "errata": [ERRATUM],
    "figures": [FIGURE],
}


@dataclass(frozen=True)
class Scene:
    """A server, and the ids of what is on it."""

    service: Service
    finished: str
    running: str
    failed: str
    model: str

    @property
    def paths(self) -> list[str]:
        """Every page there is."""
        return [
            "/jobs",
            f"/jobs/{self.finished}",
            f"/jobs/{self.running}",
            f"/jobs/{self.failed}",
            "/submit",
            "/submit?kind=q2",
            f"/submit?from={self.finished}",
            "/compare",
            f"/compare?job={self.finished}&job={self.running}",
            "/models",
            f"/models/{self.model}",
            "/workers",
        ]


def picture() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("L", (64, 48), 200).save(file, "PNG")
    return file.getvalue()


def furnish(service: Service, made: ModelFiles) -> Scene:
    """Jobs that have succeeded, failed, run and wait; what runs has two epochs."""
    finished = service.submit(name="finished & <b>bold</b>", tags=["tag <i>"])["id"]
    claim = service.claim()
    epochs = [epoch(i, train_loss=0.9 / i, train_accuracy=0.6) for i in range(1, 6)]
    claims.record_progress(service.db, claim.lease, epochs, phase="training")
    service.succeed(claim, made.files, model=True)
    service.collate({"figure-1.png": picture(), "figure-1.csv": b"a,b\r\n"}, FULL_RESULTS)
    failed = service.submit(name="failed")["id"]
    service.fail(service.claim())
    running = service.submit(name="running", spec={"seeds": [0, 1]})["id"]
    lease = service.claim().lease
    claims.record_progress(service.db, lease, [epoch(1), epoch(2)], phase="training")
    model = service.get(f"/v1/jobs/{finished}")["models"][0]
    return Scene(service, finished, running, failed, model)
