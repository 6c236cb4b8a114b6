import gzip
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fmx_ml.data import fashion_mnist
from fmx_ml.data.fashion_mnist import CHECKSUMS, load
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError

IMAGES = "t10k-images-idx3-ubyte"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSources:
    """Empty folders, no system folder, no network."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_DIR", tmp_path / "system")
    return DataSources(tmp_path / "named", tmp_path / "cache", download=False)


def fill(folder: Path, contents: dict[str, bytes], *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=0))
        else:
            (folder / name).write_bytes(content)


def test_real_data_has_its_shapes_and_balance(contents: dict[str, bytes], tmp_path: Path) -> None:
    fill(tmp_path, contents)
    data = load(DataSources(tmp_path, tmp_path / "cache", download=False))
    assert data.train.images_NHW.shape == (60_000, 28, 28)
    assert data.test.images_NHW.shape == (10_000, 28, 28)
    assert data.train.images_NHW.dtype == np.uint8
    assert data.train.labels_N.dtype == np.int64
    assert np.bincount(data.train.labels_N).tolist() == [6_000] * 10
    assert np.bincount(data.test.labels_N).tolist() == [1_000] * 10
    assert data.checksums == CHECKSUMS


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw", "raw"])
def test_files_are_found_packed_or_not_in_either_layout(
    nowhere: DataSources, contents: dict[str, bytes], layout: str, packed: bool
) -> None:
    assert nowhere.dataset_dir is not None
    fill(nowhere.dataset_dir / layout, contents, packed=packed)
    assert load(nowhere).source == str(nowhere.dataset_dir)


def test_order_is_settings_cache_system(
    nowhere: DataSources, contents: dict[str, bytes], tmp_path: Path
) -> None:
    for place in ("system", "cache", "named"):
        fill(tmp_path / place, contents)
        assert load(nowhere).source == str(tmp_path / place)


def damage_byte(content: bytes) -> bytes:
    return content[:5_000] + bytes([content[5_000] ^ 1]) + content[5_001:]


@pytest.mark.parametrize(
    "damage",
    [damage_byte, lambda content: content[:-1], lambda content: content + b"\0", lambda _: b""],
    ids=["a bit", "too short", "too long", "empty"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named_and_the_next_place_is_taken(
    nowhere: DataSources,
    contents: dict[str, bytes],
    damage: Callable[[bytes], bytes],
    packed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert nowhere.dataset_dir is not None
    broken = {**contents, IMAGES: damage(contents[IMAGES])}
    fill(nowhere.dataset_dir, broken, packed=packed)
    fill(nowhere.cache_dir, contents)
    with caplog.at_level(logging.WARNING):
        assert load(nowhere).source == str(nowhere.cache_dir)
    suffix = ".gz" if packed else ""
    assert f"{nowhere.dataset_dir / IMAGES}{suffix} is damaged" in caplog.text


def test_a_damaged_gzip_stream_is_named(
    nowhere: DataSources, contents: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    assert nowhere.dataset_dir is not None
    fill(nowhere.dataset_dir, contents, packed=True)
    path = nowhere.dataset_dir / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(DataUnavailableError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        load(nowhere)
    assert "is damaged" in caplog.text


def test_a_packed_file_steps_in_for_a_damaged_unpacked_one(
    nowhere: DataSources, contents: dict[str, bytes]
) -> None:
    assert nowhere.dataset_dir is not None
    fill(nowhere.dataset_dir, contents, packed=True)
    (nowhere.dataset_dir / IMAGES).write_bytes(b"damaged")
    assert load(nowhere).source == str(nowhere.dataset_dir)


def test_without_data_the_error_says_what_helps(nowhere: DataSources) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        load(nowhere)
    text = str(caught.value)
    for help_text in ("FMX_DATASET_DIR", "dataset-fashion-mnist", "network access"):
        assert help_text in text
    for place in ("named", "cache", "system", "switched off"):
        assert place in text
    assert caught.value.code == "data_unavailable"


def test_an_unreadable_folder_is_passed_over(
    nowhere: DataSources, contents: dict[str, bytes]
) -> None:
    assert nowhere.dataset_dir is not None
    nowhere.dataset_dir.write_text("a file where a folder should be")
    fill(nowhere.cache_dir, contents)
    assert load(nowhere).source == str(nowhere.cache_dir)


def test_a_folder_that_may_not_be_entered_is_passed_over(
    nowhere: DataSources, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if nowhere.dataset_dir in path.parents:
            raise PermissionError(path)
        return is_file(path)

    fill(nowhere.cache_dir, contents)
    monkeypatch.setattr(Path, "is_file", refuse)
    assert load(nowhere).source == str(nowhere.cache_dir)


def test_checksums_are_of_what_torchvision_publishes(release_files: dict[str, bytes]) -> None:
    """The release's .gz files, known by torchvision's MD5 sums, unpack to the same content."""
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415 - seconds

    for name, md5 in FashionMNIST.resources:
        packed = release_files[name]
        assert hashlib.md5(packed, usedforsecurity=False).hexdigest() == md5
        content = gzip.decompress(packed)
        assert hashlib.sha256(content).hexdigest() == CHECKSUMS[name.removesuffix(".gz")]
