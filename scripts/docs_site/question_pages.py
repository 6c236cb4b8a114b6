"""A page for each question: what it asks, from its own file, and the figures of a full run."""

from dataclasses import dataclass
from typing import Any

from fmx_ml.experiments import QUESTIONS
from fmx_ml.questions import Question
from scripts.docs_site.markup import block, code, join, table

_PROVENANCE = (
    "The figures are of `make report` with seed 0 on two cores, 26 November 2026, reduced in size; "
    "each job leaves its own as PNG, SVG and CSV."
)


@dataclass(frozen=True)
class Picture:
    """A figure of docs/images: its file's name without the kind, and what it shows."""

    name: str
    shows: str


PICTURES: dict[str, tuple[Picture, ...]] = {
    "q1": (
        Picture("figure-1-loss", "Figure 1: training and validation loss"),
        Picture("figure-2-accuracy", "Figure 2: training and validation accuracy"),
        Picture("figure-3-confusion", "Figure 3: the test pictures' confusion matrix"),
    ),
    "q2": (Picture("figure-4-all", "Figure 4: loss and accuracy of each configuration"),),
    "q3": (
        Picture("figure-7-filters", "Figure 7: filters of the first convolution"),
        Picture("figure-11-feature-maps", "Figure 11: feature maps of a pair of trousers"),
    ),
    "q4": (
        Picture(
            "figure-16-accuracy", "Figure 16: accuracy against the share, as the report has it"
        ),
        Picture("figure-16-accuracy-own", "Figure 16 with our own autoencoder"),
    ),
    "q5": (
        Picture("figure-17-fmnist2-initial", "Figure 17: FMNIST2, the first configuration"),
        Picture("figure-20-test-accuracy", "Figure 20: three starts against the share"),
    ),
}


def make_pages() -> dict[str, str]:
    """The pages by their names."""
    return {f"questions/{question.kind}.md": _make(question) for question in QUESTIONS}


def _make(question: Question[Any]) -> str:
    kind = question.kind
    commands = f"fmx submit {kind} --preset quick --watch\nfmx results last"
    return join(
        [
            f"# {question.title.rstrip('.')}",
            question.about,
            "## Ask it",
            block({"kind": kind, "preset": "quick"}),
            "`preset: report`, or none, is the report's own run; `quick` is a smoke version of it.",
            block(commands, "sh"),
            *_show(kind),
            f"What came out beside the published figures: [results](../results.md#{kind}).",
            "## What can be asked",
            table(("field of the spec", "default", "what it is"), _fields(question)),
        ]
    )


def _show(kind: str) -> list[str]:
    """The figures of a question, where there are some."""
    pictures = [
        f"![{picture.shows}](../images/{kind}-{picture.name}.png)\n\n*{picture.shows}.*"
        for picture in PICTURES.get(kind, ())
    ]
    return ["## Figures", *pictures, _PROVENANCE] if pictures else []


def _fields(question: Question[Any]) -> list[tuple[str, str, str]]:
    schema = question.spec.model_json_schema()
    defaults = question.spec().model_dump(mode="json")
    return [
        (code(name), code(defaults[name]), str(field.get("description", "")))
        for name, field in schema["properties"].items()
    ]
