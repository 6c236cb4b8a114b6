"""What a question is: its spec, the runs it needs, and what is made of them (pydantic only).

A file of `fmx_ml.experiments` defines one `Question`; `fmx_ml.experiments.QUESTIONS` lists them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from fmx_ml.plots.recipes import Recipe
from fmx_ml.results import Comparison, RunOutcome, Table
from fmx_ml.specs import CommonSpec, Preset
from fmx_ml.trainings import PlannedRun, Training

S = TypeVar("S", bound=CommonSpec)

Cell = str | int | float | None
ArtifactPath = Callable[[str, str], Path]  # a run's name and an artifact's name to its file
References = Mapping[str, Training]  # trainings of finished runs that a spec names, by their ids


class MisfitError(ValueError):
    """A spec that can't be planned; `field` is the place in it, with dots between names."""

    def __init__(self, field: str, message: str) -> None:
        """The message says what does not fit, without the place."""
        self.field, self.message = field, message
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True)
class Numbers:
    """The numbers behind a figure, as a CSV file has them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn: a picture or several, each with its file's name, and their numbers.

    `number` is the report's; a figure that the report does not have bears a word instead.
    """

    number: str
    title: str
    pictures: Mapping[str, Recipe]
    numbers: Mapping[str, Numbers] = field(default_factory=dict[str, Numbers])


@dataclass(frozen=True)
class Finished(Generic[S]):
    """A job whose runs have ended, as its question sees it: one outcome at least."""

    preset: Preset
    spec: S
    outcomes: Sequence[RunOutcome]  # of the runs that succeeded, in the plan's order
    artifact: ArtifactPath

    def find(self, prefix: str) -> list[RunOutcome]:
        """The outcomes whose run's name begins so."""
        return [outcome for outcome in self.outcomes if outcome.name.startswith(prefix)]


@dataclass(frozen=True)
class Collation:
    """What a question makes of its runs."""

    tables: Sequence[Table]
    drawings: Sequence[Drawing]
    comparisons: Sequence[Comparison] = ()


def _one_run(_spec: Any) -> int:
    return 1


def _no_references(_spec: Any) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Question(Generic[S]):
    """A kind of experiment."""

    kind: str
    spec: type[S]
    about: str  # what it asks and how, in paragraphs, for the rendered report
    quick: Mapping[str, Any]  # what the quick preset changes in the spec
    plan: Callable[[S, References], Sequence[PlannedRun]]
    collate: Callable[[Finished[S]], Collation]
    references: Callable[[S], Mapping[str, str]] = _no_references
    """Runs of other jobs that the spec names: their ids by the places in it."""
    fewest: Callable[[S], int] = _one_run
    """The runs that a spec makes at least, counted without making them."""

    @property
    def title(self) -> str:
        """The first line of what the spec says of itself."""
        return (self.spec.__doc__ or self.kind).strip().splitlines()[0]
