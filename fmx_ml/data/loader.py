"""The pictures of each pipeline, split and labelled, whatever data set they are from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fmx_ml.data import fashion_mnist, own, synthetic
from fmx_ml.data.classes import all_names, classes_of, names_of
from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.data.split import Indices, split_stratified
from fmx_ml.specs import Dataset, Half, OwnDataset, name_of

VAL_PART = 6  # report, section 0: 5,000 of a half's 30,000, here the same part of each class
SAMPLES_PER_CLASS = 4  # pictures to look at


@dataclass(frozen=True)
class HalfData:
    """The pictures of one half of the classes.

    Of Fashion-MNIST 25,000 to learn from, 5,000 for validation and 5,000 for tests, of five
    classes, all balanced. `classes` and `names` hold the class index and name of each label.
    """

    dataset: str
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
    """Pictures of both halves, labelled by class index: of Fashion-MNIST 60,000 and 5,000 held out.

    `train` is the whole of fm2 (its validation and test pictures too) and the training pictures of
    fm1 (report, section 4.2); `val` is the validation pictures of fm1. `samples` are the first test
    pictures of each class, class by class: those of fm1 were never seen, those of fm2 were.
    """

    dataset: str
    train: Pictures
    val: Pictures
    samples: Pictures
    names: tuple[str, ...]
    source: str
    checksums: Mapping[str, str]


def load_half(dataset: Dataset, half: Half, split_seed: int, sources: DataSources) -> HalfData:
    """The half's pictures. Test pictures keep the data set's order, so a row is one picture.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    full = _load_full(dataset, sources)  # pyright: ignore[reportArgumentType] - frozen, so it has a hash
    classes = classes_of(dataset, half)
    train, val = _split(full.train, classes, split_seed)
    return HalfData(
        dataset=name_of(dataset),
        half=half,
        train=_take(full.train, train, classes),
        val=_take(full.train, val, classes),
        test=_take(full.test, _rows_of(classes, full.test), classes),
        classes=classes,
        names=names_of(dataset, half),
        source=full.source,
        checksums=full.checksums,
    )


def load_autoencoder_data(
    dataset: Dataset, split_seed: int, sources: DataSources
) -> AutoencoderData:
    """The autoencoder's pictures; fm1 is split as `load_half` splits it.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    full = _load_full(dataset, sources)  # pyright: ignore[reportArgumentType] - as above
    train, val = _split(full.train, classes_of(dataset, "fm1"), split_seed)
    others = classes_of(dataset, "fm2")
    parts = [
        _pick(full.train, np.union1d(train, _rows_of(others, full.train))),
        _pick(full.test, _rows_of(others, full.test)),
    ]
    return AutoencoderData(
        dataset=name_of(dataset),
        train=Pictures(
            images_NHW=np.concatenate([part.images_NHW for part in parts]),
            labels_N=np.concatenate([part.labels_N for part in parts]),
        ),
        val=_pick(full.train, val),
        samples=_pick(full.test, first_of_each(full.test.labels_N, SAMPLES_PER_CLASS)),
        names=all_names(dataset),
        source=full.source,
        checksums=full.checksums,
    )


def first_of_each(labels_N: NDArray[np.int64], count: int) -> Indices:
    """Row numbers of the first `count` pictures of each class, class by class."""
    rows = [np.flatnonzero(labels_N == label)[:count] for label in np.unique(labels_N)]
    return np.concatenate(rows)


@lru_cache(maxsize=1)
def _load_full(dataset: Dataset, sources: DataSources) -> FullData:
    """Kept for the next run of the process: 55 MB, and half a second of unpacking or drawing.

    What leaves this module are copies, so nothing alters what is kept.
    """
    match dataset:
        case OwnDataset():
            return own.load(dataset, sources)
        case "fashion-mnist":
            return fashion_mnist.load(sources)
        case "synthetic":
            return synthetic.make()


def _rows_of(classes: Sequence[int], pictures: Pictures) -> Indices:
    return np.flatnonzero(np.isin(pictures.labels_N, classes))


def _split(pictures: Pictures, classes: Sequence[int], split_seed: int) -> tuple[Indices, Indices]:
    """Row numbers of the training and validation pictures of some classes."""
    rows = _rows_of(classes, pictures)
    train, val = split_stratified(pictures.labels_N[rows], VAL_PART, split_seed)
    return rows[train], rows[val]


def _pick(pictures: Pictures, rows: Indices) -> Pictures:
    return Pictures(images_NHW=pictures.images_NHW[rows], labels_N=pictures.labels_N[rows])


def _take(pictures: Pictures, rows: Indices, classes: Sequence[int]) -> Pictures:
    labels_N = np.empty(len(rows), dtype=np.int64)
    for label, class_index in enumerate(classes):
        labels_N[pictures.labels_N[rows] == class_index] = label
    return Pictures(images_NHW=pictures.images_NHW[rows], labels_N=labels_N)
