"""The data set as plain files, which the report's loop reads and which cost ours no unpacking."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmx_ml.data import fashion_mnist
from fmx_ml.data.sources import DataSources


def unpack(folder: Path, sources: DataSources) -> None:
    """Writes the four files of the data set, unpacked, where torchvision looks for them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    data = fashion_mnist.load(sources)
    for name, pictures in (("train", data.train), ("t10k", data.test)):
        _write_idx(raw / f"{name}-images-idx3-ubyte", pictures.images_NHW)
        _write_idx(raw / f"{name}-labels-idx1-ubyte", pictures.labels_N.astype(np.uint8))


def _write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """IDX: two zero bytes, 8 for unsigned bytes, the number of axes, each one's size."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())
