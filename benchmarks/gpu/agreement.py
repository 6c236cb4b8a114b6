"""Are the curves of packs on a device those of the plain engine, there and on the CPU?"""

from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.cases import Pack, group, make_pack, report_trainings, run_alone
from benchmarks.gpu.cases import run_together as together
from benchmarks.gpu.ledger import Ledger
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import full_precision
from fmx_ml.engine.train import Fit

_EPOCHS, _RUNS = 3, 3
_PICTURES = 3_000  # of each run at most


def measure(ledger: Ledger, sources: DataSources, device: torch.device, *, tiny: bool) -> None:
    """A row a kind: the largest differences of any epoch of any run."""
    folder = Path(ledger.content["folder"])
    kinds = {
        "cnn 1 conv": group(report_trainings("q2"))[0],
        "cnn 2 conv": group(report_trainings("q2"))[1],
        "cnn 4 conv": report_trainings("q3", seeds=[0, 1]),
        "mlp sigmoid": group(report_trainings("q4"))[-2],
        "mlp logits": group(report_trainings("q4"))[-1],
        "autoencoder": group(report_trainings("q4"))[2],
        "heads": max(group(report_trainings("q5"))[2:], key=_frozen_first),
    }
    for name, trainings in kinds.items():
        ledger.attempt(
            "agreement",
            name,
            lambda trainings=trainings: _compare(
                make_pack(trainings[:_RUNS], sources, folder), device, tiny=tiny
            ),
        )


def _frozen_first(trainings: list[Any]) -> bool:
    transfer = trainings[0].transfer
    return transfer is not None and transfer.trained == "last_layer"


def _compare(pack: Pack, device: torch.device, *, tiny: bool) -> dict[str, Any]:
    pack = (pack.cut(100, 200) if tiny else pack.cut(_PICTURES, 5_000)).shortened(
        1 if tiny else _EPOCHS
    )
    with full_precision():
        there = pack.to(device)
        ours = together(there)
        plain = [run_alone(there, case) for case in there.cases]
        on_cpu = [run_alone(pack, case) for case in pack.cases]
    return {
        "runs": len(pack.cases),
        "epochs": len(ours[0].history),
        "pack against the device": _differences(ours, plain),
        "pack against the CPU": _differences(ours, on_cpu),
        "the device against the CPU": _differences(plain, on_cpu),
    }


def _differences(ours: list[Fit], theirs: list[Fit]) -> dict[str, float]:
    """The largest of any epoch and run, by figure."""
    found: dict[str, float] = {}
    for one, other in zip(ours, theirs, strict=True):
        for mine, its in zip(one.history, other.history, strict=True):
            for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
                a, b = getattr(mine, name), getattr(its, name)
                if a is not None and b is not None:
                    found[name] = max(found.get(name, 0.0), abs(a - b))
    return {name: float(f"{value:.2g}") for name, value in found.items()}
