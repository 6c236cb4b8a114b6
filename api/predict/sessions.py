"""A model's export, ready to answer.

Legend of shapes: N pictures, C channels, H W pixels, K classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INPUT = "images"
PROBABILITIES = "probabilities"


# Pixels from 0 to 255; whole ones take a quarter of the room.
Images = NDArray[np.uint8 | np.float32]


class Session:
    """An ONNX export in memory; any number of threads may use it at once."""

    def __init__(self, content: bytes, num_threads: int) -> None:
        """Content is the export's file. Raises what onnxruntime raises for a damaged one."""
        self._session = _open_session(content, num_threads)

    def predict(self, images_NHW: Images) -> NDArray[np.float32]:
        """The probabilities, [N, K], of pictures of raw pixels, 0 to 255."""
        return self._run([PROBABILITIES], images_NHW)[0]

    def predict_with_maps(
        self, images_NHW: Images, layers: Sequence[str]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """The probabilities, [N, K], and what leaves each of the layers, [N, C, H, W]."""
        probabilities_NK, *maps = self._run([PROBABILITIES, *layers], images_NHW)
        return probabilities_NK, maps

    def _run(self, outputs: list[str], images_NHW: Images) -> list[NDArray[np.float32]]:
        feed = {INPUT: images_NHW[:, None].astype(np.float32, copy=False)}
        found: Any = self._session.run(outputs, feed)
        return found


def _open_session(content: bytes, num_threads: int) -> "InferenceSession":
    import onnxruntime  # noqa: PLC0415 - only a server that predicts pays for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # A thread that spins while it waits takes a core from the trainings beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class LabelledPictures:
    """The pictures that a model was tested on, images_NHW, and the label of each, labels_N."""

    def __init__(self, content: bytes) -> None:
        """Content is a safetensors file with `images` and `labels`."""
        from safetensors.numpy import load  # noqa: PLC0415 - as above

        arrays = load(content)
        self.images_NHW: NDArray[np.uint8] = arrays["images"]
        self.labels_N: NDArray[np.int64] = arrays["labels"]
