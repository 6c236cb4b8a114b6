"""A pack through the same door as a worker: each member leaves what it leaves alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cnn_cases import run_reference, run_small
from dense_cases import (
    autoencoder_training,
    mlp_training,
    small_pictures,
    train_small,
)
from ml_cases import make_training

from fmx_ml.data.loader import AutoencoderData, HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError, DivergedError, StoppedError, UserError
from fmx_ml.export import load_model
from fmx_ml.files import write_json
from fmx_ml.pipelines import Member, autoencoder, common, train_pack
from fmx_ml.pipelines.conclusions import Conclusions
from fmx_ml.results import NeededRun
from fmx_ml.sinks import FolderSink
from fmx_ml.trainings import CnnTraining, Training, Transfer, training_hash

LEARNING = {"max_epochs": 2, "optimiser": {"learning_rate": 0.1}}
ADAMW = {"name": "AdamW", "learning_rate": 0.005, "weight_decay": 0.05}


class Packed:
    """What came of the members of a pack, by their places."""

    def __init__(
        self,
        trainings: Sequence[Training],
        folder: Path,
        data: HalfData | AutoencoderData,
        sources: DataSources,
        needed: Sequence[NeededRun] = (),
        sinks: Sequence[FolderSink] | None = None,
    ) -> None:
        self.sinks = sinks or [FolderSink(folder / f"pack-{n}") for n in range(len(trainings))]
        self.outcomes: dict[int, Any] = {}
        members = [
            Member(training, sink, needed)
            for training, sink in zip(trainings, self.sinks, strict=True)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(autoencoder, "load_autoencoder_data", lambda *_: data)
            patch.setattr(common, "load_half", lambda *_: data)
            train_pack(members, sources=sources, device="cpu", num_threads=1, ended=self.note)

    def note(self, place: int, outcome: dict[str, Any] | Exception) -> None:
        assert place not in self.outcomes
        self.outcomes[place] = outcome


def assert_left_alike(
    packed: Packed, place: int, sink: FolderSink, summary: dict[str, Any]
) -> None:
    """The same files, phases, curves and summary as alone, up to rounding."""
    ours = packed.sinks[place]
    if isinstance(packed.outcomes[place], Exception):
        raise packed.outcomes[place]
    assert ours.artifacts == sink.artifacts
    assert ours.phases == sink.phases
    assert packed.outcomes[place].keys() == summary.keys()
    for name in ("best_epoch", "epochs", "stopped_early", "num_parameters", "num_train",
                 "fraction_percent", "device", "data"):  # fmt: skip
        assert packed.outcomes[place].get(name) == summary.get(name), name
    for name in ("train_loss", "val_loss", "test_loss", "best_weights_train_loss"):
        if name in summary:
            assert packed.outcomes[place][name] == pytest.approx(summary[name], abs=1e-4)
    together = {**summary["environment"], "engine": "torch ensemble"}
    assert packed.outcomes[place]["environment"] == together
    mine, theirs = load_model(ours.folder).state_dict(), load_model(sink.folder).state_dict()
    for name, weight in theirs.items():
        assert (mine[name] - weight).abs().max().item() < 1e-5, name


def make_transfers(source: str, trained: Any) -> list[CnnTraining]:
    transfer = Transfer(source=source, trained=trained)
    return [
        make_training(seeds=[seed], max_epochs=epochs, optimiser=ADAMW).model_copy(
            update={"transfer": transfer, "fraction_percent": percent}
        )
        for seed, percent, epochs in ((1, 100, 2), (2, 20, 3), (3, 70, 1))
    ]


@pytest.fixture(scope="module")
def source(
    small: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> NeededRun:
    training = make_training(half="fm2", **LEARNING)
    folder = tmp_path_factory.mktemp("source")
    return run_small(training, folder, small, sources, engine="torch").needed()


@pytest.mark.parametrize("trained", ["last_layer", "all_layers"])
def test_transfers(
    source: NeededRun, small: HalfData, sources: DataSources, tmp_path: Path, trained: str
) -> None:
    trainings = make_transfers(training_hash(source.outcome.training), trained)
    packed = Packed(trainings, tmp_path, small, sources, [source])
    for place, training in enumerate(trainings):
        alone = run_reference(training, tmp_path / f"alone-{place}", small, sources, [source])
        assert_left_alike(packed, place, alone.sink, alone.summary)


def test_perceptrons_from_an_encoder_and_from_chance(
    small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    pictures = small_pictures(sources)
    encoder = train_small(autoencoder_training(), tmp_path / "encoder", pictures, sources)
    trainings = [
        mlp_training(encoder=training_hash(encoder.training)),
        mlp_training(seed=1, fraction_percent=50, max_epochs=3),
        mlp_training(encoder="another"),
    ]
    needed = [encoder.needed()]
    packed = Packed(trainings, tmp_path, small, sources, needed)
    for place, training in enumerate(trainings[:2]):
        alone = train_small(training, tmp_path / f"alone-{place}", small, sources, needed, "torch")
        assert_left_alike(packed, place, alone.sink, alone.summary)
    assert isinstance(packed.outcomes[2], UserError)


def test_autoencoders(sources: DataSources, tmp_path: Path) -> None:
    pictures = small_pictures(sources)
    trainings = [
        autoencoder_training(optimiser={"name": "Adam", "learning_rate": rate})
        for rate in (0.001, 0.0003)
    ]
    packed = Packed(trainings, tmp_path, pictures, sources)
    for place, training in enumerate(trainings):
        alone = train_small(
            training, tmp_path / f"alone-{place}", pictures, sources, engine="torch"
        )
        assert_left_alike(packed, place, alone.sink, alone.summary)


def test_what_can_t_be_packed_trains_after_the_others(
    small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    """Two keys and one that has none: places are those of the members."""
    trainings = [
        make_training(max_epochs=1, model={"dense_layers": 1}),
        make_training(max_epochs=1, model={"dropout": 0.5}),
        make_training(max_epochs=2, model={"dense_layers": 1}, seeds=[1]),
        make_training(max_epochs=1, model={"dense_layers": 3}),
    ]
    packed = Packed(trainings, tmp_path, small, sources)
    assert list(packed.outcomes) == [0, 2, 1, 3]
    assert [packed.outcomes[place]["epochs"] for place in range(4)] == [1, 1, 2, 1]


class StoppedSink(FolderSink):
    def should_stop(self) -> bool:
        return bool(self.history)


class FullSink(FolderSink):
    """No file can be written after the training."""

    def path(self, name: str) -> Path:
        if "training" in self.phases:
            raise OSError(28, "no space left")
        return super().path(name)


def test_each_ends_in_its_own_way(
    small: HalfData, sources: DataSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmx_ml.engine.stop._LOOK_SECONDS", 0)
    trainings = [
        make_training(seeds=[seed], max_epochs=2, optimiser={"learning_rate": rate})
        for seed, rate in enumerate((0.1, 1e30, 0.1, 0.1))
    ]
    kinds = (FolderSink, FolderSink, StoppedSink, FullSink)
    sinks = [kind(tmp_path / str(place)) for place, kind in enumerate(kinds)]
    packed = Packed(trainings, tmp_path, small, sources, sinks=sinks)
    assert packed.outcomes[0]["epochs"] == 2
    assert isinstance(packed.outcomes[1], DivergedError)
    assert isinstance(packed.outcomes[2], StoppedError)
    assert len(sinks[2].history) == 1
    assert isinstance(packed.outcomes[3], OSError)
    assert len(sinks[3].history) == 2


def test_what_ends_all_is_told_to_all(tmp_path: Path) -> None:
    nowhere = DataSources(dataset_dir=None, cache_dir=tmp_path, download=False)
    told: dict[int, Any] = {}
    members = [Member(make_training(), FolderSink(tmp_path)) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fmx_ml.data.fashion_mnist.SYSTEM_DIR", tmp_path)
        train_pack(members, sources=nowhere, device="cpu", ended=told.__setitem__)
    assert all(isinstance(told[place], DataUnavailableError) for place in (0, 1))


def test_conclusions_in_threads_tell_one_at_a_time(tmp_path: Path) -> None:
    """As beside a GPU: leaving the context waits, errors are told, sinks are guarded."""
    told: dict[int, Any] = {}
    with Conclusions(told.__setitem__, in_threads=True) as conclusions:
        sink = conclusions.guard(FolderSink(tmp_path))
        for place in range(20):

            def conclude(place: int = place) -> dict[str, Any]:
                name = f"{place}.json"
                write_json(sink.path(name), {"threads": torch.get_num_threads()})
                sink.artifact(name)
                if place == 3:
                    raise OSError
                return {"place": place}

            conclusions.add(place, conclude)
    assert sorted(told) == list(range(20))
    assert isinstance(told[3], OSError)
    assert all(told[place] == {"place": place} for place in told if place != 3)
    assert len(list(tmp_path.iterdir())) == 20
