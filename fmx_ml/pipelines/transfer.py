"""Starting from the weights of a finished run (report, section 5)."""

from collections.abc import Sequence

from fmx_ml.errors import UserError
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines.common import load_source, require_run
from fmx_ml.results import NeededRun
from fmx_ml.specs import CnnSpec
from fmx_ml.trainings import Transfer


def start_from(model: Cnn, transfer: Transfer, needed: Sequence[NeededRun]) -> None:
    """Gives the model all of the source's weights but the last dense layer's, which it keeps.

    With `trained: last_layer` all other layers are frozen.

    Raises:
        UserError: no needed run has the source's training, its files are gone, or its network has
            another shape.
        ExportError: the source's weights are not those that its card describes.
    """
    run = require_run(transfer.source, needed)
    source = load_source(run)
    if not isinstance(source, Cnn):
        raise UserError(f"run {run.outcome.name}, to start from, is no convolutional network")
    if _shape(source.spec) != _shape(model.spec):
        raise UserError(
            f"the weights of run {run.outcome.name} do not fit: "
            f"its network is {source.spec!r}, this one {model.spec!r}"
        )
    last = f"fc{len(model.denses)}."
    own = {name: w for name, w in model.state_dict().items() if name.startswith(last)}
    model.load_state_dict(source.state_dict() | own)
    if transfer.trained == "last_layer":
        model.freeze()


def _shape(spec: CnnSpec) -> tuple[object, ...]:
    """What two networks must share for one to take the other's weights; dropout has none."""
    return spec.layers(), spec.dense_layers, spec.batch_norm
