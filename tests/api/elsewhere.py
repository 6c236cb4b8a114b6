"""A program of somebody else's: it has a model's files, numpy, safetensors and onnxruntime alone.

python elsewhere.py FOLDER prints, as JSON, the probabilities of the folder's test pictures by the
export and by the bare weights, and which modules it has loaded.

Legend of shapes: N pictures, C channels, H W pixels, K classes, D inputs, O outputs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]


def by_export(folder: Path, images_NHW: Array) -> Array:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    feed = {session.get_inputs()[0].name: images_NHW[:, None].astype(np.float32)}
    (probabilities_NK,) = session.run(["probabilities"], feed)
    return np.asarray(probabilities_NK)


def by_weights(folder: Path, images_NHW: Array) -> Array:
    card = json.loads((folder / "model.json").read_text())
    weights = load_file(folder / "model.safetensors")
    taken = card["input"]
    x = (images_NHW[:, None] / taken["scale"] - taken["mean"]) / taken["std"]
    if card["family"] == "cnn":
        for number in range(1, card["architecture"]["conv_layers"] + 1):
            x = convolve(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
            x = pool(np.maximum(x, 0))  # one or two convolutions are unpadded and pooled
    x = x.reshape(len(x), -1)
    names = sorted(name for name in weights if name.startswith("fc") and name.endswith("weight"))
    for name in names:
        x = x @ weights[name].T + weights[name.replace("weight", "bias")]
        if name != names[-1]:
            x = np.maximum(x, 0)
    if card["architecture"].get("output") == "sigmoid":
        x = 1 / (1 + np.exp(-x))
    exponents = np.exp(x[:, : card["num_classes"]])
    return exponents / exponents.sum(axis=1, keepdims=True)


def convolve(x_NCHW: Array, weight_OCHW: Array, bias_O: Array) -> Array:
    side = weight_OCHW.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(x_NCHW, side, axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight_OCHW) + bias_O[:, None, None]


def pool(x_NCHW: Array) -> Array:
    height, width = (size // 2 * 2 for size in x_NCHW.shape[2:])
    x = x_NCHW[:, :, :height, :width]
    return x.reshape(*x.shape[:2], height // 2, 2, width // 2, 2).max(axis=(3, 5))


def main() -> None:
    folder = Path(sys.argv[1])
    images_NHW = load_file(folder / "test-set.safetensors")["images"]
    told = {
        "export": by_export(folder, images_NHW).tolist(),
        "weights": by_weights(folder, images_NHW).tolist(),
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
