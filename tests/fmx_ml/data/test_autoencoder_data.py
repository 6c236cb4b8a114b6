from collections import Counter

import numpy as np
import pytest

from fmx_ml.data.loader import AutoencoderData, HalfData, load_autoencoder_data, load_half
from fmx_ml.data.sources import DataSources, Pictures


@pytest.fixture(scope="module")
def data(fm1: HalfData, sources: DataSources) -> AutoencoderData:
    del fm1  # skips where the data set is not there
    return load_autoencoder_data("fashion-mnist", 0, sources)


def tally(*parts: Pictures) -> Counter[bytes]:
    """How often each picture is in the parts."""
    return Counter(image.tobytes() for part in parts for image in part.images_NHW)


def test_it_learns_from_fm2_whole_and_the_training_pictures_of_fm1(
    data: AutoencoderData, fm1: HalfData, sources: DataSources
) -> None:
    fm2 = load_half("fashion-mnist", "fm2", 0, sources)
    assert data.train.images_NHW.shape == (60_000, 28, 28)
    assert tally(data.train) == tally(fm2.train, fm2.val, fm2.test, fm1.train)


def test_fm1s_validation_pictures_are_held_out(data: AutoencoderData, fm1: HalfData) -> None:
    assert np.array_equal(data.val.images_NHW, fm1.val.images_NHW)
    assert data.val.labels_N.tolist() == [fm1.classes[k] for k in fm1.val.labels_N.tolist()]


def test_labels_are_class_indices(data: AutoencoderData, fm1: HalfData) -> None:
    counts = [5_000, 5_000, 7_000, 7_000, 5_000, 5_000, 7_000, 7_000, 5_000, 7_000]
    assert np.bincount(data.train.labels_N).tolist() == counts
    assert (data.names[0], data.names[9]) == ("T-shirt/top", "Ankle boot")
    sandals = Pictures(data.train.images_NHW[data.train.labels_N == 5], np.zeros(0, np.int64))
    ours = Pictures(fm1.train.images_NHW[fm1.train.labels_N == 3], np.zeros(0, np.int64))
    assert fm1.classes[3] == 5
    assert tally(sandals) == tally(ours)


def test_samples_are_the_first_test_pictures_of_each_class(
    data: AutoencoderData, fm1: HalfData
) -> None:
    assert data.samples.labels_N.tolist() == [label for label in range(10) for _ in range(4)]
    for label, index in enumerate(fm1.classes):
        ours = data.samples.images_NHW[data.samples.labels_N == index]
        theirs = fm1.test.images_NHW[fm1.test.labels_N == label][:4]
        assert np.array_equal(ours, theirs)


def test_the_split_follows_its_seed(data: AutoencoderData, sources: DataSources) -> None:
    again = load_autoencoder_data("fashion-mnist", 0, sources)
    other = load_autoencoder_data("fashion-mnist", 1, sources)
    assert np.array_equal(data.train.images_NHW, again.train.images_NHW)
    assert not np.array_equal(data.val.images_NHW, other.val.images_NHW)


def test_the_stand_in_has_as_many_pictures(sources: DataSources) -> None:
    data = load_autoencoder_data("synthetic", 0, sources)
    assert (len(data.train.labels_N), len(data.val.labels_N)) == (60_000, 5_000)
    assert all(name.startswith("synthetic") for name in data.names)
