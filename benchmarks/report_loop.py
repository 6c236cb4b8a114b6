"""The report's own way to train, as its appendices A to F describe it: the other side of ours.

Pictures go through PIL, `ToTensor` and `Normalize` one at a time; every step reads its loss and
hits back; the convolutional networks are validated with batches of one, the perceptrons on
validation and test set with batches of 32, the autoencoders not at all. A frozen network is run in
full at every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import Adam, AdamW, Optimizer
from torch.utils.data import ConcatDataset, DataLoader, Dataset, random_split
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from benchmarks.measuring import seconds_of
from benchmarks.report_networks import make_network
from fmx_ml.data.classes import HALVES
from fmx_ml.specs import NUM_PIXELS, Half, OptimiserSpec
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining

Pictures = Dataset[tuple[Tensor, Tensor]]
LossOf = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""Of a network and a batch: its mean loss and the scores by which pictures are recognised."""

NUM_VALIDATION = 5_000


@dataclass(frozen=True)
class Loop:
    """One training; `watched` are the pictures that are looked at after each epoch."""

    network: nn.Module
    optimiser: Optimizer
    loss_of: LossOf
    train: DataLoader[Any]
    watched: tuple[DataLoader[Any], ...]

    def train_steps(self, num_steps: int | None = None) -> tuple[float, float]:
        """Some steps, an epoch's without a number; mean loss and accuracy, batch by batch."""
        self.network.train()
        total, hits, pictures, steps = 0.0, 0, 0, 0
        for images, labels in islice(self.train, num_steps):
            self.optimiser.zero_grad()
            loss, scores = self.loss_of(self.network, images, labels)
            loss.backward()
            self.optimiser.step()
            hits += _count_hits(scores, labels)
            total += loss.item()
            pictures += len(labels)
            steps += 1
        return total / steps, hits / pictures

    def time_epoch(self, share: float = 1.0) -> tuple[float, float]:
        """Seconds of an epoch's steps and of what is watched after it, from a share of each."""
        num_steps = max(1, round(len(self.train) * share))
        training = seconds_of(lambda: self.train_steps(num_steps)) * len(self.train) / num_steps
        watching = seconds_of(lambda: self.watch(share)) / share if self.watched else 0.0
        return training, watching

    def watch(self, share: float = 1.0) -> tuple[float, float]:
        """Mean loss and accuracy, batch by batch, of a share of what is watched."""
        self.network.eval()
        total, hits, pictures, batches = 0.0, 0, 0, 0
        with torch.no_grad():
            for loader in self.watched:
                for images, labels in islice(loader, round(len(loader) * share)):
                    loss, scores = self.loss_of(self.network, images, labels)
                    hits += _count_hits(scores, labels)
                    total += loss.item()
                    pictures += len(labels)
                    batches += 1
        return total / batches, hits / pictures


def _count_hits(scores: Tensor | None, labels: Tensor) -> int:
    return 0 if scores is None else int((scores.argmax(1) == labels).sum().item())


class Report:
    """The data of appendix A, from the unpacked files under `root`, and loops over it."""

    def __init__(self, root: Path, num_val: int = NUM_VALIDATION) -> None:
        """Reads the files and takes num_val pictures of each half for validation by chance."""
        self._root, self._num_val = root, num_val
        self.train, self.val = self._split("fm1")
        self.test = self._load("fm1", train=False)

    def _load(self, half: Half, *, train: bool) -> FashionMNIST:
        classes = torch.tensor(HALVES[half])
        to_tensor, normalise = transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))
        transform = transforms.Compose([to_tensor, normalise])
        data = FashionMNIST(str(self._root), train=train, download=False, transform=transform)
        kept = torch.isin(data.targets, classes)
        data.data = data.data[kept]
        data.targets = torch.searchsorted(classes, data.targets[kept])
        return data

    def _split(self, half: Half) -> tuple[Pictures, Pictures]:
        data = self._load(half, train=True)
        sizes = [len(data) - self._num_val, self._num_val]
        train, val = random_split(data, sizes, torch.Generator().manual_seed(0))
        return train, val

    def cnn(self, training: CnnTraining) -> Loop:
        """Appendices B, C, D and F."""
        network = make_network(training.model)
        if training.transfer is not None and training.transfer.trained == "last_layer":
            network.requires_grad_(requires_grad=False)[-1].requires_grad_(requires_grad=True)
        return Loop(
            network,
            make_optimiser(training.optimiser, network),
            classify,
            DataLoader(self.train, batch_size=training.batch_size, shuffle=True),
            (DataLoader(self.val, batch_size=1, shuffle=False),),
        )

    def mlp(self, training: MlpTraining) -> Loop:
        """Appendix E: what is watched is shuffled too, in batches of the training's size."""
        network = make_network(training.model)
        train, *watched = (
            DataLoader(part, batch_size=training.batch_size, shuffle=True)
            for part in (self.train, self.val, self.test)
        )
        optimiser = make_optimiser(training.optimiser, network)
        return Loop(network, optimiser, classify_rows, train, tuple(watched))

    def autoencoder(self, training: AutoencoderTraining) -> Loop:
        """Appendix E: the whole of fm2 and what fm1 trains on; nothing is watched."""
        network = make_network(training.model)
        parts = [*self._split("fm2"), self._load("fm2", train=False), self.train]
        return Loop(
            network,
            make_optimiser(training.optimiser, network),
            reconstruct_rows,
            DataLoader(ConcatDataset(parts), batch_size=training.batch_size, shuffle=True),
            (),
        )


def classify(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Appendices B to D and F."""
    scores = network(images)
    return cross_entropy(scores, labels.long()), scores


def classify_rows(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    """Appendix E counts no hits."""
    return cross_entropy(network(_to_rows(images)), labels), None


def reconstruct_rows(network: nn.Module, images: Tensor, _: Tensor) -> tuple[Tensor, None]:
    """Appendix E."""
    rows = _to_rows(images)
    return mse_loss(network(rows), rows), None


def _to_rows(images: Tensor) -> Tensor:
    return images.view(-1, NUM_PIXELS).float()


def make_optimiser(spec: OptimiserSpec, network: nn.Module) -> Optimizer:
    """The optimiser as the report calls it: no options but rate and decay, over all weights."""
    match spec.name:
        case "SGD":
            return torch.optim.SGD(
                network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay
            )
        case "Adam":
            return Adam(network.parameters(), lr=spec.learning_rate)
        case "AdamW":
            return AdamW(
                network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay
            )
