"""What a run trains: all that its result depends on, and what it must wait for (pydantic only).

A training that starts from another one's weights names it by hash, so that equal hashes mean equal
results whatever the runs are called.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from fmx_ml.search import Sampling
from fmx_ml.specs import (
    Augmentation,
    AutoencoderSpec,
    CnnSpec,
    Dataset,
    EarlyStopping,
    Frozen,
    Half,
    MlpSpec,
    Normalisation,
    OptimiserSpec,
    Schedule,
)


class _Training(Frozen):
    """What every training has."""

    seed: int
    split_seed: int
    dataset: Dataset


class Transfer(Frozen):
    """Weights to start from: those of the run whose training has the hash `source`.

    The last dense layer is drawn anew. `trained` says what learns: that layer alone, or all.
    """

    source: str
    trained: Literal["last_layer", "all_layers"]


class CnnTraining(_Training):
    """One training of a convolutional classifier."""

    task: Literal["train_cnn"] = "train_cnn"
    half: Half
    model: CnnSpec
    optimiser: OptimiserSpec
    batch_size: int
    max_epochs: int
    early_stopping: EarlyStopping | None
    fraction_percent: int = 100
    schedule: Schedule = "constant"
    augmentation: Augmentation = Augmentation()
    transfer: Transfer | None = None


class AutoencoderTraining(_Training):
    """One training of an autoencoder on fm2 whole and fm1's training pictures (report, 4.2)."""

    task: Literal["train_autoencoder"] = "train_autoencoder"
    model: AutoencoderSpec
    optimiser: OptimiserSpec
    batch_size: int
    max_epochs: int
    early_stopping: EarlyStopping | None
    normalise: Normalisation = "report"


class MlpTraining(_Training):
    """One training of a multi-layer perceptron classifier.

    `encoder` is the hash of the autoencoder's training whose encoder the weights are copies of.
    """

    task: Literal["train_mlp"] = "train_mlp"
    half: Half
    model: MlpSpec
    optimiser: OptimiserSpec
    batch_size: int
    max_epochs: int
    early_stopping: EarlyStopping | None
    normalise: Normalisation = "report"
    fraction_percent: int = 100
    encoder: str | None = None


class TrialTraining(_Training):
    """One trial of a search: its configuration is asked for when it starts.

    It follows from the search, the trial's number and the trials of earlier generations, which are
    the runs that it needs; so equal trials are equal trainings.
    """

    task: Literal["search_trial"] = "search_trial"
    half: Half
    search: Sampling
    number: int
    max_epochs: int
    early_stopping: EarlyStopping | None
    fraction_percent: int = 100


_AnyTraining = CnnTraining | AutoencoderTraining | MlpTraining | TrialTraining
Training = Annotated[_AnyTraining, Field(discriminator="task")]

_adapter: TypeAdapter[_AnyTraining] = TypeAdapter(Training)


class PlannedRun(Frozen):
    """One training that a job needs; `needs` names the runs that must have succeeded before.

    `taken_from` is the id of a finished run of an equal training whose results are taken over.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9-]{1,128}$")]  # its files' folder has it too
    training: Training
    needs: tuple[str, ...] = ()
    taken_from: str | None = None

    @property
    def max_epochs(self) -> int:
        """Epochs at most."""
        return self.training.max_epochs


def parse_training(data: Any) -> Training:
    """A training as the record holds it. Raises pydantic.ValidationError."""
    return _adapter.validate_python(data)


def training_hash(training: Training) -> str:
    """The sha256, in hex, of one training: equal hashes, equal results on the same machine."""
    return digest(training.model_dump(mode="json"))


def digest(value: Mapping[str, Any]) -> str:
    """The sha256, in hex, of a JSON object, whatever the order of its members."""
    payload = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()
