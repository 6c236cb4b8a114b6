"""One half of the classes, split and relabelled, from the real data set or the stand-in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fmx_ml.data import fashion_mnist, synthetic
from fmx_ml.data.classes import HALVES, names_of, to_label
from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.data.split import Indices, split_stratified
from fmx_ml.specs import DatasetName, Half

VAL_PER_CLASS = 1_000  # report, section 0: 5,000 of a half's 30,000, here balanced


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


def load_half(dataset: DatasetName, half: Half, split_seed: int, sources: DataSources) -> HalfData:
    """The half's pictures. Test pictures keep the data set's order, so a row is one picture.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    full = _load_full(dataset, sources)
    rows = _rows_of(half, full.train)
    train, val = split_stratified(full.train.labels_N[rows], VAL_PER_CLASS, split_seed)
    return HalfData(
        dataset=dataset,
        half=half,
        train=_take(full.train, rows[train], half),
        val=_take(full.train, rows[val], half),
        test=_take(full.test, _rows_of(half, full.test), half),
        classes=HALVES[half],
        names=names_of(dataset, half),
        source=full.source,
        checksums=full.checksums,
    )


def _load_full(dataset: DatasetName, sources: DataSources) -> FullData:
    match dataset:
        case "fashion-mnist":
            return fashion_mnist.load(sources)
        case "synthetic":
            return synthetic.make()


def _rows_of(half: Half, pictures: Pictures) -> Indices:
    return np.flatnonzero(np.isin(pictures.labels_N, HALVES[half]))


def _take(pictures: Pictures, rows: Indices, half: Half) -> Pictures:
    labels_N = np.empty(len(rows), dtype=np.int64)
    for class_index in HALVES[half]:
        labels_N[pictures.labels_N[rows] == class_index] = to_label(half, class_index)
    return Pictures(images_NHW=pictures.images_NHW[rows], labels_N=labels_N)
