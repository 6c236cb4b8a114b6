"""Submit a job with two seeds, follow its epochs, read its figures, predict, keep its files."""

import os
import sys
from pathlib import Path

from fmx_client import Client


def main(folder: Path) -> None:
    """Trains on the server that FMX_URL names; the job's files go into the folder."""
    spec = {
        "dataset": os.environ.get("DATASET", "fashion-mnist"),
        "max_epochs": int(os.environ.get("EPOCHS", "5")),
        "seeds": [0, 1],
    }
    with Client() as client:
        plan = client.validate("q1", preset="quick", spec=spec)
        print("runs", *(run.name for run in plan.runs))

        job = client.submit("q1", preset="quick", name="with Python", spec=spec)
        for seen in client.watch(job.id):
            print(seen.state, seen.progress.phase, seen.progress.completed, seen.progress.total)
            job = seen

        for run in client.runs(job.id):
            last = client.metrics(run.id).epochs()[-1]
            print(run.name, "validation accuracy", last.val_accuracy)
        for comparison in client.results(job.id).comparisons:
            ours = comparison.ours.mean if comparison.ours else None
            print(comparison.id, "published", comparison.published, "ours", ours)

        for prediction in client.predict(job.models[0], test_rows=[0, 1, 2]).predictions:
            print(f"{prediction.label} {prediction.probability:.3f}, is {prediction.actual}")
        for artifact in client.artifacts(job.id):
            if artifact.path.startswith("figure-1"):
                print("file", client.download(job.id, artifact, folder / artifact.path))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/example"))
