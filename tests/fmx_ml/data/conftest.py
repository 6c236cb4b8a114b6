"""The four files as bytes, and as the original release packed them."""

import gzip
import os
import struct
from pathlib import Path

import pytest
from ml_cases import miss

from fmx_ml.data.fashion_mnist import CHECKSUMS, SYSTEM_DIR

# Seconds since 1970 in the gzip headers of the original release, which Debian's package leaves out.
PACKED_AT = {"train": 1_504_176_606, "t10k": 1_504_176_627}
HEADER_BYTES = 10


def _folder() -> Path:
    return Path(os.environ.get("FMX_DATASET_DIR") or SYSTEM_DIR)


@pytest.fixture(scope="session")
def contents() -> dict[str, bytes]:
    """The unpacked content of each file."""
    found: dict[str, bytes] = {}
    for name in CHECKSUMS:
        plain, packed = _folder() / name, _folder() / f"{name}.gz"
        if plain.is_file():
            found[name] = plain.read_bytes()
        elif packed.is_file():
            found[name] = gzip.decompress(packed.read_bytes())
        else:
            miss(f"no {name} in {_folder()}")
    return found


@pytest.fixture(scope="session")
def release_files() -> dict[str, bytes]:
    """The .gz files of the original release: Debian's, with name and time in the header again."""
    found: dict[str, bytes] = {}
    for name in CHECKSUMS:
        path = _folder() / f"{name}.gz"
        if not path.is_file():
            miss(f"no {path}")
        packed = path.read_bytes()
        if packed[3] == 0:  # no name in the header
            time = struct.pack("<I", PACKED_AT[name.split("-")[0]])
            header = packed[:3] + b"\x08" + time + packed[8:HEADER_BYTES] + name.encode() + b"\0"
            packed = header + packed[HEADER_BYTES:]
        found[f"{name}.gz"] = packed
    return found
