"""A model for MLServer: the same ONNX export, whose path is the model's `uri`."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Classifier(MLModel):
    """Answers with the probabilities; MLServer's adaptive batching gathers the requests."""

    async def load(self) -> bool:
        """Opens the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        uri = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(
            uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The probabilities of the pictures that came together."""
        images = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        found = self.session.run(["probabilities"], {"images": images})[0]
        output = NumpyCodec.encode_output("probabilities", found)
        return InferenceResponse(model_name=self.name, outputs=[output])
