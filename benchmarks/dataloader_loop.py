"""Plain PyTorch with a DataLoader, done well: what an epoch of Q1 costs without the report's ways.

Pictures are tensors, whole batches are taken at once, validation has large batches, and nothing is
read back before the epoch's end.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch.utils.data import TensorDataset as Tensors

from benchmarks.report_loop import make_optimiser
from benchmarks.report_networks import make_network
from fmx_ml.engine.evaluate import Examples
from fmx_ml.trainings import CnnTraining

_VALIDATION_BATCH = 1_000


class DataLoaderLoop:
    """A convolutional classifier and its loaders."""

    def __init__(self, training: CnnTraining, train: Examples, val: Examples) -> None:
        """The network has weights as torch draws them."""
        self._network = make_network(training.model)
        self._optimiser = make_optimiser(training.optimiser, self._network)
        self._train = _load(train, training.batch_size, shuffle=True)
        self._val = _load(val, _VALIDATION_BATCH, shuffle=False)

    def run_epoch(self) -> tuple[float, float]:
        """An epoch with its validation: mean training loss, and validation accuracy."""
        self._network.train()
        losses: list[Tensor] = []
        for images, labels in self._train:
            self._optimiser.zero_grad()
            loss = cross_entropy(self._network(images), labels)
            loss.backward()
            self._optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item(), _measure(self._network, self._val)


def _measure(network: nn.Module, val: DataLoader[Any]) -> float:
    network.eval()
    with torch.inference_mode():
        hits = [network(images).argmax(1) == labels for images, labels in val]
    return torch.cat(hits).float().mean().item()


def _load(examples: Examples, size: int, *, shuffle: bool) -> DataLoader[Any]:
    """Batches that are indexed at once: with `batch_size` each picture would be taken alone."""
    data = Tensors(examples.images_NCHW, examples.labels_N)
    rows = RandomSampler(data) if shuffle else SequentialSampler(data)
    return DataLoader(data, sampler=BatchSampler(rows, size, drop_last=False), batch_size=None)
