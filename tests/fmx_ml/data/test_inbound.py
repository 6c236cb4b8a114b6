"""Pictures as people have them: read where they are what they say, refused where not."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_pictures import draw_digits, idx, write_folder, write_idx
from PIL import Image

from fmx_ml.data import inbound
from fmx_ml.data.inbound import read_folder, read_idx, read_npz
from fmx_ml.data.pictures import read_picture
from fmx_ml.errors import BadDatasetError

IMAGES, LABELS = draw_digits(80)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_idx_files_come_in_as_they_are(tmp_path: Path) -> None:
    read = read_idx(write_idx(tmp_path, 80, 20))
    assert np.array_equal(read.train.images_NHW, IMAGES)
    assert read.train.labels_N.tolist() == LABELS.tolist()
    assert read.test is not None
    assert len(read.test.images_NHW) == 20
    assert read.tally.notes() == []


def test_files_of_emnist_have_a_name_before_theirs(tmp_path: Path) -> None:
    (tmp_path / "emnist-digits-train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "emnist-digits-train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    read = read_idx(tmp_path)
    assert read.test is None
    assert len(read.train.images_NHW) == 80


def head(*sizes: int, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + struct.pack(f">B{len(sizes)}I", len(sizes), *sizes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x0d\x03" + bytes(12), "no IDX file of unsigned bytes"),
        (b"\0\0\x08", "can't be read|no IDX file"),
        (head(80, 28), "no IDX file"),
        (b"\0\0\x08\x03\0\0", "cut off"),
        (head(80, 28, 28), "fewer bytes"),
        (head(80, 28, 28) + bytes(80 * 28 * 28 + 1), "more bytes"),
        (head(2**32 - 1, 28, 28), "which no data set has"),
        (head(1_000, 2**31, 2**31), "which no data set has"),
        (head(80, 0, 28), "0 pixels|28 x 0"),
        (idx(IMAGES[:79]), "79 pictures, 80 labels"),
    ],
)
def test_idx_files_that_are_not_what_they_say(content: bytes, says: str, tmp_path: Path) -> None:
    write_idx(tmp_path, 80, 20)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(BadDatasetError, match=says):
        read_idx(tmp_path)


def test_a_bomb_is_given_up_after_what_it_announces(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte, behind a header of 80 pictures."""
    write_idx(tmp_path, 80, 20)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(head(80, 28, 28))
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(BadDatasetError, match="more bytes"):
        read_idx(tmp_path)


def test_folders_of_idx_files_that_lack_some(tmp_path: Path) -> None:
    with pytest.raises(BadDatasetError, match="train_images and train_labels"):
        read_idx(tmp_path)
    write_idx(tmp_path, 80, 20)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BadDatasetError, match="test_labels"):
        read_idx(tmp_path)
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(BadDatasetError, match="are both train_images"):
        read_idx(tmp_path)
    with pytest.raises(BadDatasetError, match="can't be read"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("dtype", ["uint8", "int64", ">u2"])
def test_an_npz_file_comes_in(dtype: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS.astype(dtype)[:, None])
    read = read_npz(path)
    assert np.array_equal(read.train.images_NHW, IMAGES)
    assert read.train.labels_N.tolist() == LABELS.tolist()
    assert read.test is None


def test_pictures_are_converted_as_uploads_are(tmp_path: Path) -> None:
    """Of another size, in colour, on a light background: as a PNG of each would be."""
    rng = np.random.default_rng(3)
    coloured = 255 - rng.integers(0, 90, (6, 40, 30, 3), dtype=np.uint8)
    read = read_npz(npz(tmp_path / "a.npz", images=coloured, labels=np.arange(6)))
    for image, mine in zip(coloured, read.train.images_NHW, strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        assert np.array_equal(read_picture(file.getvalue(), 10_000).pixels_HW, mine)
    assert [note.split(" pictures ")[0] for note in read.tally.notes()] == ["6 of 6"] * 3


def test_light_pictures_of_the_right_size_are_inverted(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[:5] = 255 - images[:5]
    read = read_npz(npz(tmp_path / "a.npz", images=images, labels=LABELS))
    assert np.array_equal(read.train.images_NHW, IMAGES)
    assert read.tally.notes() == ["5 of 80 pictures were inverted, since their background is light"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": IMAGES}, "train_labels"),
        ({"images": IMAGES, "labels": LABELS, "x_train": IMAGES}, "train_images twice"),
        (
            {"images": IMAGES, "labels": LABELS, "weights": LABELS},
            "'weights', which has no meaning",
        ),
        ({"images": IMAGES / 255, "labels": LABELS}, "float64, not whole numbers"),
        ({"images": IMAGES.astype("int32"), "labels": LABELS}, "not uint8 pictures"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, "not uint8 pictures"),
        ({"images": np.zeros((8, 28, 28, 2), "uint8"), "labels": LABELS[:8]}, "not uint8 pictures"),
        ({"images": np.zeros((2, 1, 9000), "uint8"), "labels": LABELS[:2]}, "9000 x 1 pixels"),
        ({"images": IMAGES, "labels": LABELS[:, None, None]}, "not one label a picture"),
        ({"images": IMAGES, "labels": LABELS.astype(int) - 1}, "labels out of range"),
        ({"images": IMAGES, "labels": LABELS.astype(int) + 2**40}, "labels out of range"),
        ({"images": IMAGES, "labels": np.array([str(i) for i in LABELS])}, "not whole numbers"),
        ({"images": np.asfortranarray(IMAGES), "labels": LABELS}, "row by row"),
    ],
)
def test_arrays_that_will_not_do(arrays: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadDatasetError, match=says):
        read_npz(npz(tmp_path / "a.npz", **arrays))


class Malice:
    """What would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    array = np.array([Malice(mark)], dtype=object)
    path = npz(tmp_path / "a.npz", images=array, labels=array)
    with pytest.raises(BadDatasetError, match="object, not whole numbers"):
        read_npz(path)
    assert not mark.exists()


def npy_head(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (b"", "is no array"),
        (b"\x93NUMPY\x01\x00\xff\xff", "is no array"),
        (npy_head("(10, 28, 28)") + bytes(5), "fewer bytes"),
        (npy_head("(10, 28, 28)") + bytes(10_000), "more bytes"),
        (npy_head("(-1, 28, 28)") + bytes(100), "which no data set has"),
        (npy_head("(999999, 9999, 9999)"), "which no data set has"),
        (npy_head("(99999999999,)"), "which no data set has"),
        (npy_head("__import__('os').getpid()"), "is no array"),
    ],
)
def test_members_that_are_not_what_they_say(member: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", member)
    with pytest.raises(BadDatasetError, match=says):
        read_npz(path)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(BadDatasetError, match="can't be read"):
        read_npz(path)
    whole = npz(tmp_path / "b.npz", images=IMAGES, labels=LABELS).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadDatasetError, match="can't be read"):
        read_npz(path)
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(BadDatasetError, match=r"can't be read|is no array"):
        read_npz(path)


def test_a_folder_of_pictures_comes_in(tmp_path: Path) -> None:
    read = read_folder(write_folder(tmp_path, per_class=3))
    assert read.class_names == ("ant", "bee", "cat", "dog", "eel")
    assert read.train.labels_N.tolist() == [k for k in range(5) for _ in range(3)]
    assert read.train.images_NHW[:, 0, 0].max() < 50  # the white paper has become dark
    assert any("inverted" in note for note in read.tally.notes())


def test_folders_with_train_and_test_and_names_that_are_numbers(tmp_path: Path) -> None:
    names = ["10", "9", "2", "0"]
    write_folder(tmp_path / "train", 3, names)
    write_folder(tmp_path / "test", 2, names)
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    read = read_folder(tmp_path)
    assert read.class_names == ("0", "2", "9", "10")
    assert read.test is not None
    assert len(read.test.images_NHW) == 8


def test_pictures_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "a", per_class=2)
    odd = folder / "bee" / "odd.png"
    odd.write_bytes(b"no picture")
    with pytest.raises(BadDatasetError, match=r"odd\.png: the file is none of PNG"):
        read_folder(folder)
    odd.write_bytes(bomb())
    with pytest.raises(BadDatasetError, match=r"odd\.png: 60000 x 60000 pixels are more"):
        read_folder(folder)
    odd.unlink()
    (folder / "bee" / "deeper").mkdir()
    with pytest.raises(BadDatasetError, match="deeper is no file"):
        read_folder(folder)
    (folder / "bee" / "deeper").rmdir()
    monkeypatch.setattr(inbound, "MAX_PICTURE_BYTES", 10)
    with pytest.raises(BadDatasetError, match="more than 10 bytes"):
        read_folder(folder)
    monkeypatch.undo()
    monkeypatch.setattr(inbound, "MAX_PICTURES", 3)
    with pytest.raises(BadDatasetError, match="more than 3 pictures"):
        read_folder(folder)
    with pytest.raises(BadDatasetError, match="has no pictures"):
        read_folder(tmp_path / "a" / "ant")


def bomb() -> bytes:
    """A PNG whose header announces more pixels than fit into memory."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [(13, ihdr), (len(data) - 4, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for size, chunk in chunks
    )


def test_no_link_leads_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", per_class=2)
    secret = tmp_path / "secret.png"
    Image.new("L", (28, 28)).save(secret)
    link = folder / "cat" / "link.png"
    link.symlink_to(secret)
    with pytest.raises(BadDatasetError, match="leads out"):
        read_folder(folder)
    link.unlink()
    (folder / "fox").symlink_to(tmp_path)
    with pytest.raises(BadDatasetError, match=r"leads out|is no file"):
        read_folder(folder)
