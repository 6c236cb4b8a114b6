"""A data folder with one model in its record: Q1's network with drawn weights, not trained."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from fmx_ml.data import synthetic
from fmx_ml.data.classes import HALVES, names_of
from fmx_ml.data.sources import Pictures
from fmx_ml.export import export_onnx, save_card, save_weights
from fmx_ml.files import CARD_FILE, ONNX_FILE, WEIGHTS_FILE
from fmx_ml.model_card import CnnCard, outputs_of
from fmx_ml.models import build
from fmx_ml.requests import parse_request
from fmx_ml.specs import CnnSpec
from fmx_store import artifacts, claims, jobs, models
from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.settings import Settings

ROOT = Path(__file__).parents[1]
NUM_CLASSES = 5


@dataclass(frozen=True)
class ServedModel:
    """The model's id, its data folder, its export, and pictures to ask it about."""

    id: str
    data_dir: Path
    onnx: Path
    class_names: tuple[str, ...]
    pictures: Pictures


def make_served_model(folder: Path) -> ServedModel:
    """Draws, exports and records a model below the folder."""
    names = names_of("synthetic", "fm1")
    pictures = _first(synthetic.make().test, 256)
    files = folder / "files"
    files.mkdir(parents=True)
    _export(files, names, pictures)
    data_dir = folder / "data"
    return ServedModel(_record(data_dir, files), data_dir, files / ONNX_FILE, names, pictures)


def _first(pictures: Pictures, count: int) -> Pictures:
    """Some of the first half's pictures; the labels are of no account here."""
    return Pictures(pictures.images_NHW[:count], pictures.labels_N[:count] % NUM_CLASSES)


def _export(files: Path, names: tuple[str, ...], pictures: Pictures) -> None:
    spec = CnnSpec()
    model = build(spec, NUM_CLASSES, torch.Generator().manual_seed(0)).eval()
    card = CnnCard(
        architecture=spec,
        num_classes=NUM_CLASSES,
        class_names=names,
        class_indices=HALVES["fm1"],
        outputs=outputs_of(spec, NUM_CLASSES),
        dataset="synthetic",
        half="fm1",
        seed=0,
        split_seed=0,
        best_epoch=1,
        weights_sha256=save_weights(model.state_dict(), files / WEIGHTS_FILE),
    )
    save_card(card, files / CARD_FILE)
    export_onnx(model, card, pictures, files / ONNX_FILE)


def _record(data_dir: Path, files: Path) -> str:
    """The id of the model that a job in a new record has left, as a worker would write it."""
    settings = Settings(data_dir=data_dir)
    environment = {**os.environ, "FMX_DATA_DIR": str(data_dir)}
    migrate = [sys.executable, "-m", "migrations", "upgrade"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True, capture_output=True)
    db = Database(settings.database)
    try:
        jobs.submit(db, parse_request({"kind": "q1"}), settings.max_runs_per_job)
        claim = claims.claim(db, "benchmark", ["auto", "cpu"])
        assert claim is not None
        named = {f"{claim.run.name}/{file.name}": file for file in files.iterdir()}
        staged = artifacts.stage(db, open_store(settings), claim.lease, named)
        claims.finish(db, claim.lease, claims.Success(summary={}, files=staged, model=True))
        return models.list_models(db).items[0].id
    finally:
        db.close()
