"""Where the pictures may come from, and the arrays they come as.

Legend of shapes: N examples, H W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DataSources:
    """Where to look for the pictures.

    Attributes:
        dataset_dir: the folder of Fashion-MNIST that the settings name, looked at first.
        cache_dir: the folder that keeps a download.
        download: whether to download where no folder has the files.
        timeout_seconds: silence after which a download is given up.
        own: the file of a registered data set, where one is learnt from.
    """

    dataset_dir: Path | None
    cache_dir: Path
    download: bool = True
    timeout_seconds: float = 10.0
    own: Path | None = None


@dataclass(frozen=True)
class Pictures:
    """Grey pictures with a label each: uint8 [N, 28, 28] of 0 to 255, and int64 [N]."""

    images_NHW: "NDArray[np.uint8]"
    labels_N: "NDArray[np.int64]"


@dataclass(frozen=True)
class FullData:
    """All pictures to learn from and all to test with, labelled by class index.

    `source` says where they are from, `checksums` holds the sha256 of each file's content.
    """

    train: Pictures
    test: Pictures
    source: str
    checksums: Mapping[str, str]
