"""The report's own way to run an epoch of Q1, as it describes it: the other side of `q1_epoch`.

Pictures go through PIL, `ToTensor` and `Normalize` one at a time in a DataLoader of batches of 100;
validation has batches of one; every step reads its loss and hits back from the device.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

Loader = DataLoader[Any]

CLASSES = (0, 1, 4, 5, 8)
NUM_VALIDATION = 5_000


def make_loaders(root: Path, batch_size: int) -> tuple[Loader, Loader]:
    """Training and validation loaders over the first half of the classes."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    data = FashionMNIST(str(root), train=True, download=False, transform=transform)
    kept = torch.isin(data.targets, torch.tensor(CLASSES))
    data.data, labels = data.data[kept], data.targets[kept]
    data.targets = torch.searchsorted(torch.tensor(CLASSES), labels)
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    train, val = rows[NUM_VALIDATION:], rows[:NUM_VALIDATION]
    return (
        DataLoader(Subset(data, train), batch_size=batch_size, shuffle=True),
        DataLoader(Subset(data, val), batch_size=1, shuffle=False),
    )


def run_epoch(
    model: nn.Module, optimiser: torch.optim.Optimizer, loaders: tuple[Loader, Loader]
) -> tuple[float, float]:
    """One epoch with its validation: training loss and validation accuracy."""
    train, val = loaders
    model.train()
    total = 0.0
    for images, labels in train:
        optimiser.zero_grad()
        scores = model(images)
        loss = cross_entropy(scores, labels.long())
        loss.backward()
        optimiser.step()
        (scores.argmax(1) == labels).sum().item()
        total += loss.item()
    model.eval()
    hits = 0
    with torch.no_grad():
        for images, labels in val:
            scores = model(images)
            cross_entropy(scores, labels.long()).item()
            hits += int((scores.argmax(1) == labels).sum().item())
    return total / len(train), hits / NUM_VALIDATION
