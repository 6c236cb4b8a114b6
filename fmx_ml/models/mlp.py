"""The report's multi-layer perceptron (section 4.3; Appendix E).

Legend of shapes: N examples, C channels, H W pixels, O outputs, of which the first K are classes.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from fmx_ml.models.dense import chain
from fmx_ml.specs import MlpSpec


class Mlp(nn.Module):
    """Dense layers fc1, fc2, …, relu after all but the last.

    It takes float32 pictures, [N, 1, 28, 28], and gives logits, [N, O]. With `output: sigmoid` the
    logits are the sigmoids of the last layer, within 0 to 1, as the report has them: of ten such
    outputs no class gets a probability above e / (e + 9) = 0.23, nor a loss below 1.461.
    """

    def __init__(self, spec: MlpSpec) -> None:
        """The layers as torch makes them; `initialise_dense` draws their weights."""
        super().__init__()
        self.ends_in_sigmoid = spec.output == "sigmoid"
        self.denses = chain(spec.sizes)
        for number, dense in enumerate(self.denses, start=1):
            self.add_module(f"fc{number}", dense)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits [N, O]."""
        x = images_NCHW.flatten(1)
        for dense in self.denses[:-1]:
            x = relu(dense(x))
        x = self.denses[-1](x)
        return x.sigmoid() if self.ends_in_sigmoid else x
