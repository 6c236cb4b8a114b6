"""What a pack needs of the pipelines: what comes before and after the training of each member."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import Examples, to_device
from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction
from fmx_ml.engine.train import Fit, FitTraining
from fmx_ml.model_card import InputCard, input_of
from fmx_ml.pipelines import autoencoder, cnn, mlp
from fmx_ml.pipelines.common import CPU, find_part, leave_history, leave_test_set, load_whole
from fmx_ml.pipelines.common import take_part as take
from fmx_ml.results import NeededRun
from fmx_ml.sinks import Sink
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining, Training


@dataclass(frozen=True)
class Member:
    """A training of a pack, where its metrics and files go, and the finished runs it needs."""

    training: Training
    sink: Sink
    needed: Sequence[NeededRun] = ()


@dataclass(frozen=True)
class Prepared:
    """A member that can begin: its first network, on the CPU, and its part of the pictures.

    `conclude` leaves its files and gives back its summary, without the machine.
    """

    training: FitTraining
    sink: Sink
    model: nn.Module
    rows_N: Tensor
    conclude: Callable[[Fit], dict[str, Any]]


class Common(Protocol):
    """What the members of a pack share."""

    @property
    def objective(self) -> Objective:
        """What each of them minimises."""
        ...

    def examples(self, device: torch.device) -> tuple[Examples, Examples]:
        """All pictures to learn from, whatever part a member asks for, and those to measure on."""
        ...

    def prepare(self, member: Member) -> Prepared:
        """Raises UserError, ExportError: the run that it starts from is not there or not fit."""
        ...


def prepare_common(training: Training, sources: DataSources) -> Common:
    """What all trainings with this one's pack key share.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    match training:
        case CnnTraining():
            return _CommonHalf(load_whole(training, sources), InputCard())
        case MlpTraining():
            return _CommonHalf(load_whole(training, sources), input_of(training.normalise))
        case AutoencoderTraining():
            return _CommonPictures(
                autoencoder.load_data(training, sources), input_of(training.normalise)
            )
        case _:
            raise TypeError(f"{training.task} trains alone")


@dataclass(frozen=True)
class _CommonHalf:
    """Classifiers of one half of the classes."""

    data: HalfData
    inputs: InputCard

    @property
    def objective(self) -> Objective:
        return Classification(len(self.data.classes))

    def examples(self, device: torch.device) -> tuple[Examples, Examples]:
        train, val = self.data.train, self.data.val
        return to_device(train, device, self.inputs), to_device(val, device, self.inputs)

    def prepare(self, member: Member) -> Prepared:
        leave_test_set(self.data, member.sink)
        match member.training:
            case CnnTraining() as training:
                return self._prepare_cnn(training, member)
            case MlpTraining() as training:
                return self._prepare_mlp(training, member)
            case _:
                raise TypeError(f"{member.training.task} is no classifier's")

    def _prepare_cnn(self, training: CnnTraining, member: Member) -> Prepared:
        model, sink = cnn.make_model(training, CPU, member.needed), member.sink

        def conclude(result: Fit) -> dict[str, Any]:
            leave_history(result.history, sink)
            return cnn.conclude(model, take(self.data, training), training, result, sink)

        rows_N = torch.from_numpy(find_part(self.data, training))
        return Prepared(training, sink, model, rows_N, conclude)

    def _prepare_mlp(self, training: MlpTraining, member: Member) -> Prepared:
        model, sink = mlp.make_model(training, member.needed), member.sink

        def conclude(result: Fit) -> dict[str, Any]:
            return mlp.conclude(model, take(self.data, training), training, result, sink)

        rows_N = torch.from_numpy(find_part(self.data, training))
        return Prepared(training, sink, model, rows_N, conclude)


@dataclass(frozen=True)
class _CommonPictures:
    """Autoencoders, which all learn from the same pictures."""

    data: autoencoder.AutoencoderData
    inputs: InputCard

    @property
    def objective(self) -> Objective:
        return Reconstruction()

    def examples(self, device: torch.device) -> tuple[Examples, Examples]:
        train, val = self.data.train, self.data.val
        return to_device(train, device, self.inputs), to_device(val, device, self.inputs)

    def prepare(self, member: Member) -> Prepared:
        training, sink = member.training, member.sink
        if not isinstance(training, AutoencoderTraining):
            raise TypeError(f"{training.task} is no autoencoder's")
        model = autoencoder.make_model(training)

        def conclude(result: Fit) -> dict[str, Any]:
            return autoencoder.conclude(model, self.data, training, result, sink)

        rows_N = torch.arange(len(self.data.train.labels_N))
        return Prepared(training, sink, model, rows_N, conclude)
