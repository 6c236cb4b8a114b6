"""The questions: what their runs leave (needs torch) and what is made of it (needs none)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fmx_ml.results import Results, RunOutcome
from fmx_ml.sinks import Sink
from fmx_ml.specs import Kind, Preset, Spec

ArtifactPath = Callable[[str, str], Path]  # a run's name and an artifact's name to its file


def collate(
    kind: Kind,
    preset: Preset,
    spec: Spec,
    outcomes: Sequence[RunOutcome],
    sink: Sink,
    artifact_path: ArtifactPath,
) -> Results:
    """Makes a job's tables and figures of its finished runs, and leaves them in the sink.

    Args:
        kind: the question.
        preset: which of its presets was asked.
        spec: the job's spec.
        outcomes: its finished runs, one at least, in the plan's order.
        sink: where the figures, results.json and manifest.json go.
        artifact_path: where a run's artifact can be read.

    Raises:
        ValueError: there is no finished run.
        StoppedError: the sink asked to stop.
    """
    match kind:
        case "q1":
            from fmx_ml.experiments import q1  # noqa: PLC0415 - trainings need no matplotlib

            return q1.collate(preset, spec, outcomes, sink, artifact_path)
