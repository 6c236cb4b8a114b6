import numpy as np
import pytest

from fmx_ml.data import synthetic
from fmx_ml.data.loader import HalfData, load_autoencoder_data, load_half
from fmx_ml.data.sources import DataSources, Pictures


def counts(pictures: Pictures) -> list[int]:
    return np.bincount(pictures.labels_N).tolist()


def test_a_half_is_balanced(fm1: HalfData) -> None:
    assert counts(fm1.train) == [5_000] * 5
    assert counts(fm1.val) == [1_000] * 5
    assert counts(fm1.test) == [1_000] * 5
    assert fm1.train.images_NHW.shape == (25_000, 28, 28)
    assert fm1.train.images_NHW.dtype == np.uint8
    assert fm1.train.labels_N.dtype == np.int64
    assert fm1.classes == (0, 1, 4, 5, 8)
    assert fm1.names == ("T-shirt/top", "Trouser", "Coat", "Sandal", "Bag")


def test_train_and_val_share_no_picture_and_leave_none_out(
    fm1: HalfData, sources: DataSources
) -> None:
    other = load_half("fashion-mnist", "fm1", 1, sources)
    whole = [
        sorted(image.tobytes() for part in (data.train, data.val) for image in part.images_NHW)
        for data in (fm1, other)
    ]
    assert whole[0] == whole[1]
    assert not np.array_equal(fm1.val.images_NHW, other.val.images_NHW)
    assert np.array_equal(fm1.test.images_NHW, other.test.images_NHW)


def test_the_same_seed_gives_the_same_pictures(fm1: HalfData, sources: DataSources) -> None:
    again = load_half("fashion-mnist", "fm1", 0, sources)
    assert np.array_equal(fm1.train.images_NHW, again.train.images_NHW)
    assert np.array_equal(fm1.val.labels_N, again.val.labels_N)


def test_labels_are_of_the_right_pictures(fm1: HalfData, sources: DataSources) -> None:
    """A sandal leaves the top rows dark; a coat does not: label 3 and label 2."""
    top = fm1.train.images_NHW[:, :6].mean(axis=(1, 2))
    assert top[fm1.train.labels_N == 3].mean() < 10 < top[fm1.train.labels_N == 2].mean()
    fm2 = load_half("fashion-mnist", "fm2", 0, sources)
    top = fm2.train.images_NHW[:, :6].mean(axis=(1, 2))
    assert top[fm2.train.labels_N == 3].mean() < 10 < top[fm2.train.labels_N == 0].mean()


@pytest.mark.parametrize("half", ["fm1", "fm2"])
def test_the_stand_in_goes_through_the_same_door(half: str, sources: DataSources) -> None:
    data = load_half("synthetic", half, 0, sources)  # pyright: ignore[reportArgumentType]
    assert counts(data.train) == [5_000] * 5
    assert all(name.startswith("synthetic") for name in data.names)
    assert data.source == "made by fmx_ml.data.synthetic"
    assert set(data.checksums) == {"train", "test"}


def test_what_is_kept_is_read_once_and_can_not_be_altered(
    sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_half("synthetic", "fm1", 0, sources)
    monkeypatch.setattr(synthetic, "make", lambda: pytest.fail("it was drawn again"))
    expected = [part.images_NHW.copy() for part in (first.train, first.val, first.test)]
    for part in (first.train, first.val, first.test):
        part.images_NHW[:] = 0
        part.labels_N[:] = 0
    again = load_half("synthetic", "fm1", 0, sources)
    for part, images_NHW in zip((again.train, again.val, again.test), expected, strict=True):
        assert np.array_equal(part.images_NHW, images_NHW)
        assert part.labels_N.any()
    autoencoder = load_autoencoder_data("synthetic", 0, sources)
    autoencoder.train.images_NHW[:] = 0
    autoencoder.samples.images_NHW[:] = 0
    fresh = load_half("synthetic", "fm1", 0, sources)
    assert np.array_equal(fresh.train.images_NHW, again.train.images_NHW)
