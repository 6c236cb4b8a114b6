"""LitServe with the same ONNX export: `python litserve_server.py model.onnx PORT CLASS,CLASS…`.

Runs in an environment of its own, as LitServe's documentation advises: requests are gathered by its
batching, the model is opened in its worker process.
"""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime


class Classifier(litserve.LitAPI):
    """The pictures of a request as our own server takes them, and the same answer."""

    def setup(self, device: str) -> None:
        """Opens the model, in the worker's process."""
        del device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            sys.argv[1], options, providers=["CPUExecutionProvider"]
        )
        self.names = sys.argv[3].split(",")

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One picture, [1, H, W]."""
        return np.array(request["images"], dtype=np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """The pictures that came together."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Probabilities of each."""
        return self.session.run(["probabilities"], {"images": x})[0]

    def unbatch(self, output: Any) -> Any:
        """Row by row."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The label and all probabilities."""
        label = self.names[int(output.argmax())]
        probabilities = dict(zip(self.names, output.tolist(), strict=True))
        return {"predictions": [{"label": label, "probabilities": probabilities}]}


if __name__ == "__main__":
    api = Classifier(max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(sys.argv[2]),
        host="127.0.0.1",
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
