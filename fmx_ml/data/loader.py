"""The pictures of each pipeline, split and labelled, from the real data set or the stand-in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fmx_ml.data import fashion_mnist, synthetic
from fmx_ml.data.classes import CLASS_NAMES, HALVES, class_name, names_of, to_label
from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.data.split import Indices, split_stratified
from fmx_ml.specs import DatasetName, Half

VAL_PER_CLASS = 1_000  # report, section 0: 5,000 of a half's 30,000, here balanced
SAMPLES_PER_CLASS = 4  # pictures to look at


@dataclass(frozen=True)
class HalfData:
    """25,000 training, 5,000 validation and 5,000 test pictures of five classes, all balanced.

    Labels are 0 to 4; `classes` and `names` hold the class index and name of each.
    """

    dataset: DatasetName
    half: Half
    train: Pictures
    val: Pictures
    test: Pictures
    classes: tuple[int, ...]
    names: tuple[str, ...]
    source: str
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class AutoencoderData:
    """60,000 pictures to learn from and 5,000 held out, labelled by class index, 0 to 9.

    `train` is the whole of fm2 (its validation and test pictures too) and the training pictures of
    fm1 (report, section 4.2); `val` is the validation pictures of fm1. `samples` are the first test
    pictures of each class, class by class: those of fm1 were never seen, those of fm2 were.
    """

    dataset: DatasetName
    train: Pictures
    val: Pictures
    samples: Pictures
    names: tuple[str, ...]
    source: str
    checksums: Mapping[str, str]


def load_half(dataset: DatasetName, half: Half, split_seed: int, sources: DataSources) -> HalfData:
    """The half's pictures. Test pictures keep the data set's order, so a row is one picture.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    full = _load_full(dataset, sources)
    train, val = _split(full.train, half, split_seed)
    return HalfData(
        dataset=dataset,
        half=half,
        train=_take(full.train, train, half),
        val=_take(full.train, val, half),
        test=_take(full.test, _rows_of(half, full.test), half),
        classes=HALVES[half],
        names=names_of(dataset, half),
        source=full.source,
        checksums=full.checksums,
    )


def load_autoencoder_data(
    dataset: DatasetName, split_seed: int, sources: DataSources
) -> AutoencoderData:
    """The autoencoder's pictures; fm1 is split as `load_half` splits it.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    full = _load_full(dataset, sources)
    train, val = _split(full.train, "fm1", split_seed)
    parts = [
        _pick(full.train, np.union1d(train, _rows_of("fm2", full.train))),
        _pick(full.test, _rows_of("fm2", full.test)),
    ]
    return AutoencoderData(
        dataset=dataset,
        train=Pictures(
            images_NHW=np.concatenate([part.images_NHW for part in parts]),
            labels_N=np.concatenate([part.labels_N for part in parts]),
        ),
        val=_pick(full.train, val),
        samples=_pick(full.test, first_of_each(full.test.labels_N, SAMPLES_PER_CLASS)),
        names=tuple(class_name(dataset, index) for index in range(len(CLASS_NAMES))),
        source=full.source,
        checksums=full.checksums,
    )


def first_of_each(labels_N: NDArray[np.int64], count: int) -> Indices:
    """Row numbers of the first `count` pictures of each class, class by class."""
    rows = [np.flatnonzero(labels_N == label)[:count] for label in np.unique(labels_N)]
    return np.concatenate(rows)


@lru_cache(maxsize=1)
def _load_full(dataset: DatasetName, sources: DataSources) -> FullData:
    """Kept for the next run of the process: 55 MB, and half a second of unpacking or drawing.

    What leaves this module are copies, so nothing alters what is kept.
    """
    match dataset:
        case "fashion-mnist":
            return fashion_mnist.load(sources)
        case "synthetic":
            return synthetic.make()


def _rows_of(half: Half, pictures: Pictures) -> Indices:
    return np.flatnonzero(np.isin(pictures.labels_N, HALVES[half]))


def _split(pictures: Pictures, half: Half, split_seed: int) -> tuple[Indices, Indices]:
    """Row numbers of the half's training and validation pictures."""
    rows = _rows_of(half, pictures)
    train, val = split_stratified(pictures.labels_N[rows], VAL_PER_CLASS, split_seed)
    return rows[train], rows[val]


def _pick(pictures: Pictures, rows: Indices) -> Pictures:
    return Pictures(images_NHW=pictures.images_NHW[rows], labels_N=pictures.labels_N[rows])


def _take(pictures: Pictures, rows: Indices, half: Half) -> Pictures:
    labels_N = np.empty(len(rows), dtype=np.int64)
    for class_index in HALVES[half]:
        labels_N[pictures.labels_N[rows] == class_index] = to_label(half, class_index)
    return Pictures(images_NHW=pictures.images_NHW[rows], labels_N=labels_N)
