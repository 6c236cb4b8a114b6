"""Going on where an earlier attempt at a training has been interrupted."""

import logging
from collections.abc import Callable

from fmx_ml.engine.checkpoint import Checkpoint, CheckpointError, read
from fmx_ml.sinks import SavedCheckpoint, Sink

_log = logging.getLogger(__name__)


def resume(
    sink: Sink, training: str, maker: str, restore: Callable[[Checkpoint], None]
) -> Checkpoint | None:
    """Restores the newest checkpoint of a training, by its hash, that is whole and fits.

    None where there is none. `restore` raises CheckpointError for one that does not fit. One that
    something else has made is taken too: only the last bits of what follows may differ.
    """
    saved = sink.checkpoints()
    for each in saved:
        try:
            checkpoint = _read_own(each, training)
            restore(checkpoint)
        except CheckpointError as error:
            _log.warning("the checkpoint of epoch %d is left aside: %s", each.epoch, error)
            continue
        if checkpoint.maker != maker:
            _log.warning(
                "the last bits may differ from now on: %s, not %s", maker, checkpoint.maker
            )
        sink.resumed(checkpoint.epoch)
        return checkpoint
    if saved:
        sink.resumed(0)
    return None


def _read_own(saved: SavedCheckpoint, training: str) -> Checkpoint:
    checkpoint = read(saved.path, saved.sha256)
    if checkpoint.training != training:
        raise CheckpointError("it is that of another training")
    return checkpoint
