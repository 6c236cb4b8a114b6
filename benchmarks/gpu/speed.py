"""How long an epoch takes with its validation: packs as CUDA graphs beside the plain engine."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.cases import Pack, group, make_pack, report_trainings, run_alone, run_together
from benchmarks.gpu.ledger import Ledger
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import full_precision
from fmx_ml.engine.ensemble import networks
from fmx_ml.engine.train import Fit

_WARM = 2  # epochs in which graphs are recorded
_LONGEST_SECONDS = 10  # after which no further round begins

Way = Callable[[Callable[[], list[Fit]]], list[Fit]]


def measure(
    ledger: Ledger, sources: DataSources, device: torch.device, rounds: int, *, tiny: bool
) -> None:
    """A row a pack."""
    folder = Path(ledger.content["folder"])
    q2, q4, q5 = (group(report_trainings(kind)) for kind in ("q2", "q4", "q5"))
    packs = {
        "q1 alone": report_trainings("q1"),
        "q2 1 conv": q2[0],
        "q2 2 conv": q2[1],
        "q3 alone": report_trainings("q3"),
        "q4 mlps": q4[-2],
        "q4 autoencoders of batch 16": q4[0],
        "q4 autoencoders of batch 512": q4[4],
        "q5 heads": next(each for each in q5 if _is(each, "last_layer")),
        "q5 other starts": next(each for each in q5 if _is(each, "all_layers")),
    }
    for name, trainings in packs.items():
        ledger.attempt(
            "speed",
            name,
            lambda trainings=trainings: _measure(
                make_pack(trainings[: 2 if tiny else None], sources, folder).to(device),
                rounds,
                tiny=tiny,
            ),
        )


def _is(trainings: list[Any], trained: str) -> bool:
    return any(each.transfer is not None and each.transfer.trained == trained for each in trainings)


def _measure(pack: Pack, rounds: int, *, tiny: bool) -> dict[str, Any]:
    """Seconds an epoch of the whole pack, and of one run of it by the plain engine."""
    ways = _ways_of(pack)
    seconds: dict[str, list[float]] = {name: [] for name in [*ways, "plain"]}
    epochs = 1 if tiny else 3
    pack = pack.cut(300, 200) if tiny else pack
    with full_precision():
        began = time.monotonic()
        for _ in range(rounds):
            if time.monotonic() - began > _LONGEST_SECONDS:
                break
            for name, way in ways.items():
                fits = way(lambda: run_together(pack.shortened(_WARM + epochs)))
                seconds[name].append(_epoch_of(fits[0], _WARM) * len(pack.cases))
            alone = run_alone(pack, pack.shortened(1 + epochs).cases[-1])
            seconds["plain"].append(_epoch_of(alone, 1))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "runs": len(pack.cases),
        "epoch_seconds": {name: float(f"{value:.4g}") for name, value in medians.items()},
        "plain_pictures": len(pack.cases[-1].rows_N),
        "pack_pictures": sum(len(case.rows_N) for case in pack.cases),
        "gain": round(_gain(pack, medians), 2),
    }


def _ways_of(pack: Pack) -> dict[str, Way]:
    """How the pack may be run."""
    if not _is_cnn(pack):
        return {"graphs": _as_it_is}
    if len(pack.cases) > 1:
        return {"grouped convolutions": _grouped, "patches": _patched}
    return {
        "graphs": _as_it_is,
        "cuDNN's choice": _with_cudnn_choice,
    }


def _gain(pack: Pack, medians: dict[str, float]) -> float:
    """Pictures a second of the pack's best way, over the plain engine's."""
    best = min(value for name, value in medians.items() if name != "plain")
    theirs = len(pack.cases[-1].rows_N) / medians["plain"]
    return sum(len(case.rows_N) for case in pack.cases) / best / theirs


def _epoch_of(fitted: Fit, warm: int) -> float:
    return statistics.median(metrics.seconds for metrics in fitted.history[warm:])


def _is_cnn(pack: Pack) -> bool:
    return isinstance(
        networks.stack_network(pack.cases[0].model, pack.train.device), networks.StackedCnn
    )


def _as_it_is(run: Callable[[], list[Fit]]) -> list[Fit]:
    return run()


def _with_cudnn_choice(run: Callable[[], list[Fit]]) -> list[Fit]:
    """CuDNN tries its algorithms and takes the fastest."""
    torch.backends.cudnn.benchmark = True
    try:
        return run()
    finally:
        torch.backends.cudnn.benchmark = False


def _grouped(run: Callable[[], list[Fit]]) -> list[Fit]:
    return _convolving("groups", run)


def _patched(run: Callable[[], list[Fit]]) -> list[Fit]:
    return _convolving("patches", run)


def _convolving(how: networks.Convolving, run: Callable[[], list[Fit]]) -> list[Fit]:
    before = networks.CONVOLVING["cuda"], networks.CONVOLVING["cpu"]
    networks.CONVOLVING["cuda"] = networks.CONVOLVING["cpu"] = how
    try:
        return run()
    finally:
        networks.CONVOLVING["cuda"], networks.CONVOLVING["cpu"] = before
