import numpy as np
import pytest

from fmx_ml.data import synthetic
from fmx_ml.data.sources import FullData


@pytest.fixture(scope="module")
def made() -> FullData:
    return synthetic.make()


def test_it_looks_like_the_real_one(made: FullData) -> None:
    assert made.train.images_NHW.shape == (60_000, 28, 28)
    assert made.test.images_NHW.shape == (10_000, 28, 28)
    assert made.train.images_NHW.dtype == np.uint8
    assert np.bincount(made.train.labels_N).tolist() == [6_000] * 10
    assert np.bincount(made.test.labels_N).tolist() == [1_000] * 10
    assert made.train.images_NHW.min() == 0
    assert made.train.images_NHW.max() == 255


def test_it_is_the_same_every_time(made: FullData) -> None:
    again = synthetic.make()
    assert np.array_equal(again.train.images_NHW, made.train.images_NHW)
    assert again.checksums == made.checksums


def test_training_and_test_pictures_differ(made: FullData) -> None:
    assert made.checksums["train"] != made.checksums["test"]
    test = {picture.tobytes() for picture in made.test.images_NHW[:1_000]}
    assert not any(picture.tobytes() in test for picture in made.train.images_NHW)


def test_classes_can_be_told_apart_but_not_by_their_mean_picture(made: FullData) -> None:
    """Nearest mean picture: far better than chance (0.1), far from a network's accuracy."""
    pixels = made.train.images_NHW[:20_000].reshape(-1, 784).astype(np.float32)
    labels = made.train.labels_N[:20_000]
    means = np.stack([pixels[labels == k].mean(0) for k in range(10)])
    test = made.test.images_NHW[:2_000].reshape(-1, 784).astype(np.float32)
    distances = ((test[:, None] - means) ** 2).sum(2)
    accuracy = (distances.argmin(1) == made.test.labels_N[:2_000]).mean()
    assert 0.3 < accuracy < 0.85
