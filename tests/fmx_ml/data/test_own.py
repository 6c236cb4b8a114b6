"""Data sets of one's own: packed alike for alike, split deterministically, learnt from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_pictures import draw_digits, write_folder, write_idx

from fmx_ml.data import own
from fmx_ml.data.__main__ import main
from fmx_ml.data.inbound import Inbound, read_idx
from fmx_ml.data.loader import load_autoencoder_data, load_half
from fmx_ml.data.packing import assemble
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.errors import BadDatasetError, DataUnavailableError
from fmx_ml.specs import OwnDataset

IMAGES, LABELS = draw_digits(420)
WHOLE = Inbound(train=Pictures(IMAGES, LABELS.astype(np.int64)), test=None)


def take(*classes: int, each: int = 42) -> Inbound:
    """So many pictures of some classes."""
    rows = np.concatenate([np.flatnonzero(k == LABELS)[:each] for k in classes])
    return Inbound(train=Pictures(IMAGES[rows], LABELS[rows].astype(np.int64)), test=None)


def pack(tmp_path: Path, inbound: Inbound = WHOLE, **options: object) -> tuple[Path, OwnDataset]:
    """A packed file, and what it is as a data set named digits."""
    contents = assemble(inbound, options.get("names"), options.get("first_half"))  # pyright: ignore[reportArgumentType] - as the tests give them
    path = tmp_path / "digits.safetensors"
    path.write_bytes(own.serialise(contents))
    return path, own.identify(path, "digits")


def sources_of(path: Path) -> DataSources:
    return DataSources(dataset_dir=None, cache_dir=path.parent, download=False, own=path)


def test_equal_pictures_make_equal_files(tmp_path: Path) -> None:
    path, dataset = pack(tmp_path)
    assert pack(tmp_path)[1] == dataset
    assert pack(tmp_path, names=[f"digit {k}" for k in range(10)])[1].sha256 != dataset.sha256
    assert pack(tmp_path, first_half=[0, 1])[1].sha256 != dataset.sha256
    changed = IMAGES.copy()
    changed[0, 0, 0] ^= 1
    other = replace(WHOLE, train=Pictures(changed, WHOLE.train.labels_N))
    assert pack(tmp_path, other)[1].sha256 != dataset.sha256
    assert path.stat().st_size < 420 * (28 * 28 + 1) + 2_000


def test_the_parts_are_the_reports_25_5_5(tmp_path: Path) -> None:
    path, dataset = pack(tmp_path)
    half = load_half(dataset, "fm2", 0, sources_of(path))
    counts = [np.bincount(p.labels_N).tolist() for p in (half.train, half.val, half.test)]
    assert counts == [[30] * 5, [6] * 5, [6] * 5]
    assert half.names == ("5", "6", "7", "8", "9")
    assert half.classes == (5, 6, 7, 8, 9)
    assert half.checksums == {"digits.safetensors": dataset.sha256}
    assert half.dataset == "digits"
    parts = (half.train, half.val, half.test)
    seen = {image.tobytes() for part in parts for image in part.images_NHW}
    assert seen == {image.tobytes() for image in IMAGES[LABELS >= 5]}


def test_a_test_part_that_is_given_is_kept(tmp_path: Path) -> None:
    path, dataset = pack(tmp_path, read_idx(write_idx(tmp_path / "idx", 200, 50)))
    half = load_half(dataset, "fm1", 0, sources_of(path))
    images, labels = draw_digits(50, seed=1)
    assert np.array_equal(half.test.images_NHW, images[labels < 5])
    assert np.array_equal(half.test.labels_N, labels[labels < 5])


def test_halves_may_be_unequal(tmp_path: Path) -> None:
    path, dataset = pack(tmp_path, take(0, 1, 2, 3, 4), first_half=[4, 0])
    first, second = (load_half(dataset, half, 0, sources_of(path)) for half in ("fm1", "fm2"))
    assert (first.names, second.names) == (("4", "0"), ("1", "2", "3"))
    assert set(first.train.labels_N) == {0, 1}
    fours = first.train.images_NHW[first.train.labels_N == 0]
    known = {image.tobytes() for image in IMAGES[LABELS == 4]}
    assert all(image.tobytes() in known for image in fours)
    data = load_autoencoder_data(dataset, 0, sources_of(path))
    assert data.names == ("0", "1", "2", "3", "4")
    assert np.bincount(data.train.labels_N).tolist() == [30, 42, 42, 42, 30]
    assert np.bincount(data.val.labels_N, minlength=5).tolist() == [6, 0, 0, 0, 6]
    assert np.bincount(data.samples.labels_N).tolist() == [4] * 5


def test_another_file_is_not_learnt_from(tmp_path: Path) -> None:
    path, dataset = pack(tmp_path)
    other = OwnDataset.model_validate({**dataset.model_dump(), "sha256": "0" * 64})
    with pytest.raises(DataUnavailableError, match="is not the data set 'digits'"):
        load_half(other, "fm1", 0, sources_of(path))
    with pytest.raises(DataUnavailableError, match="is not given"):
        load_half(dataset, "fm1", 0, replace(sources_of(path), own=None))
    with pytest.raises(DataUnavailableError, match="can't be read"):
        load_half(dataset, "fm1", 0, sources_of(path.with_name("gone")))
    path.write_bytes(b"nothing")
    with pytest.raises(BadDatasetError, match="no data set's file"):
        own.identify(path, "digits")


@pytest.mark.parametrize(
    ("inbound", "options", "says"),
    [
        (take(0, 1, 2), {}, "3 classes: 4 to 62"),
        (take(0, 1, 2, 4), {}, "class '3' has 0 pictures in the train part"),
        (take(1, 2, 3, 4), {}, "class '0' has 0 pictures"),
        (take(0, 1, 2, 3, each=6), {}, "class '0' has 0 pictures in the test part"),
        (take(0, 1, 2, 3), {"names": ["a", "b", "c"]}, "3 classes"),
        (take(0, 1, 2, 3, 4), {"names": list("abcd")}, "label 4 is none of 4 classes"),
        (take(0, 1, 2, 3), {"names": list("abca")}, "same name is given twice"),
        (take(0, 1, 2, 3), {"names": ["a", "b", "c", "\0"]}, "control characters"),
        (take(0, 1, 2, 3), {"names": ["a", "b", "c", ""]}, "at least 1 item"),
        (take(0, 1, 2, 3), {"first_half": [0]}, "each half has two classes"),
        (take(0, 1, 2, 3), {"first_half": [0, 4]}, "some of the classes 0 to 3"),
    ],
)
def test_classes_that_will_not_do(
    inbound: Inbound, options: dict[str, object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(BadDatasetError, match=says):
        pack(tmp_path, inbound, **options)


def test_labels_far_out_are_refused_before_they_are_counted(tmp_path: Path) -> None:
    far = Pictures(IMAGES, np.where(LABELS == 9, 2_000_000_000, WHOLE.train.labels_N))
    with pytest.raises(BadDatasetError, match="label 2000000000"):
        pack(tmp_path, Inbound(train=far, test=None))


def test_the_command_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = str(write_folder(tmp_path / "pictures", per_class=8))
    out = tmp_path / "creatures.safetensors"
    assert main(["pack", "--folder", pictures, "--first-half", "0,1,4", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    dataset = own.identify(out, "creatures")
    assert told["sha256"] == dataset.sha256
    assert told["size_bytes"] == out.stat().st_size
    assert dataset.class_names == ("ant", "bee", "cat", "dog", "eel")
    assert dataset.first_half == (0, 1, 4)
    assert (told["train_per_class"], told["test_per_class"]) == ([7] * 5, [1] * 5)
    assert [note.split(" pictures ")[0] for note in told["notes"]] == ["40 of 40"] * 3


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "--idx", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "has no file like train-images-idx3-ubyte" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    for wrong in (["pack"], ["pack", "--idx", "a", "--npz", "b", "--out", "x"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
