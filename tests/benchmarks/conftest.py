"""A data set of 600 pictures of noise, as files that torchvision reads."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.dataset import unpack
from benchmarks.report_loop import Report
from fmx_ml.data import fashion_mnist
from fmx_ml.data.sources import DataSources, FullData, Pictures


def _draw(seed: int, count: int) -> Pictures:
    """As many pictures of each class."""
    images_NHW = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return Pictures(images_NHW, np.arange(count, dtype=np.int64) % 10)


@pytest.fixture(scope="session")
def noise() -> FullData:
    return FullData(_draw(0, 600), _draw(1, 100), source="drawn", checksums={})


@pytest.fixture(scope="session")
def root(noise: FullData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fashion_mnist, "load", lambda _: noise)
        unpack(folder, DataSources(None, folder))
    return folder


@pytest.fixture(scope="session")
def report(root: Path) -> Report:
    """250 pictures of each half to learn from, 50 to validate with, 50 to test with."""
    return Report(root, num_val=50)


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
