"""Local copies of what lies elsewhere: verified, bounded, and nobody's is taken away."""

import errno
import io
import os
from pathlib import Path

import pytest
from record_kit import together

from fmx_store.blobs import digest
from fmx_store.copies import Copies
from fmx_store.errors import BlobError

SIZE_BYTES = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def make(copies: Copies, to: Path, content: bytes) -> str:
    """Puts a copy of some bytes at a path; answers their digest."""
    to.with_name("original").write_bytes(content)
    sha256, _ = digest(to.with_name("original"))
    if not copies.place(sha256, to):
        copies.add(sha256, io.BytesIO(content), to)
    return sha256


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_copy_is_made_once_and_each_has_a_name_of_its_own(folder: Path, tmp_path: Path) -> None:
    copies = Copies(folder, 10 * SIZE_BYTES)
    content = os.urandom(SIZE_BYTES)
    sha256 = make(copies, tmp_path / "a", content)
    assert copies.place(sha256, tmp_path / "deep" / "b")
    (tmp_path / "a").unlink()
    assert (tmp_path / "deep" / "b").read_bytes() == content
    assert kept(folder) == {sha256}


def test_the_least_recently_used_go_and_users_keep_theirs(folder: Path, tmp_path: Path) -> None:
    copies = Copies(folder, 3 * SIZE_BYTES)
    contents = [os.urandom(SIZE_BYTES) for _ in range(5)]
    digests: list[str] = []
    for number, content in enumerate(contents):
        digests.append(make(copies, tmp_path / str(number), content))
        os.utime(folder / digests[-1], (number, number))
        if number == 2:
            assert copies.place(digests[0], tmp_path / "again"), "so it is the newest now"
    assert kept(folder) == {digests[0], digests[3], digests[4]}
    for number, content in enumerate(contents):
        assert (tmp_path / str(number)).read_bytes() == content


def test_a_copy_that_was_damaged_is_made_anew(folder: Path, tmp_path: Path) -> None:
    copies = Copies(folder, 10 * SIZE_BYTES)
    content = os.urandom(SIZE_BYTES)
    sha256 = make(copies, tmp_path / "a", content)
    (folder / sha256).write_bytes(b"x" * SIZE_BYTES)
    assert not copies.place(sha256, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert kept(folder) == set()
    make(copies, tmp_path / "b", content)
    assert (tmp_path / "b").read_bytes() == content


def test_other_bytes_than_asked_for_are_no_copy(folder: Path, tmp_path: Path) -> None:
    copies = Copies(folder, 10 * SIZE_BYTES)
    with pytest.raises(BlobError, match="changed"):
        copies.add("0" * 64, io.BytesIO(b"other"), tmp_path / "a")
    assert kept(folder) == set()
    assert not (tmp_path / "a").exists()


def test_without_room_to_keep_any_a_copy_is_made_all_the_same(folder: Path, tmp_path: Path) -> None:
    make(Copies(folder, 0), tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert kept(folder) == set()


def test_a_file_system_without_links_gets_copies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copies = Copies(folder, 10 * SIZE_BYTES)
    sha256 = make(copies, tmp_path / "a", b"content")
    assert copies.place(sha256, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"content"


def test_what_a_killed_process_left_half_made_goes_one_day(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    for name in ("incoming-old", "incoming-new"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / "incoming-old", (0, 0))
    sha256 = make(Copies(folder, SIZE_BYTES), tmp_path / "a", b"content")
    assert kept(folder) == {sha256, "incoming-new"}


def test_many_may_ask_for_the_same_at_once(folder: Path, tmp_path: Path) -> None:
    """Each with a bound that lets none be kept for long."""
    contents = [os.urandom(SIZE_BYTES) for _ in range(4)]

    def use(user: int) -> None:
        copies = Copies(folder, 2 * SIZE_BYTES)
        mine = tmp_path / f"user-{user}"
        mine.mkdir()
        for turn in range(40):
            content = contents[(turn * (user + 1)) % len(contents)]
            make(copies, mine / "file", content)
            assert (mine / "file").read_bytes() == content

    assert together(*[lambda user=user: use(user) for user in range(6)]) == [None] * 6
