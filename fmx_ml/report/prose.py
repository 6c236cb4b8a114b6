"""What the report says in its own words: what it is, and how its verdicts are to be read."""

import re
from collections.abc import Mapping, Sequence

from fmx_ml.report.document import Span, Text
from fmx_ml.report.formats import capitalise, list_words

_EMPHASIS = re.compile(r"\*([^*\s](?:[^*]*[^*\s])?)\*")
_BLANK_LINES = re.compile(r"\n\s*\n")

SMOKE = {
    ("preset", "quick"): "quick preset",
    ("dataset", "synthetic"): "synthetic data",
}

_INTRODUCTION = """\
A published report answers questions about small neural networks and the pictures of
Fashion-MNIST{source}. Here its experiments have been run again, from its descriptions and from the
code in its appendices. Each section below is one *job*: an experiment, the trainings it took (its
*runs*), and the tables and figures made of them. Where the report publishes a figure, it stands
beside ours.

A published figure comes from a single training. Trained again from other random numbers, the same
network would have come out a little different, so it would prove nothing if the two figures were
equal, or if they were not. What can be asked is whether the published figure might have been one of
ours. Our figures are therefore means over several seeds, each with its deviation and with the
interval in which *one more run of ours* would lie with a probability of 95%. A published figure in
that interval is called *inside*, any other one *outside*.

Some figures can't be judged in this way, and are called *not compared*: those of which we have a
single run, those of an experiment that was set up otherwise than the report's, and those that the
report itself puts in doubt. The reason is given each time.

Figures bear the published report's numbers, and an *added figure* is one that it does not have;
tables are numbered through."""

_ERRATA_PARAGRAPH = """\
The report contradicts itself, or the code it prints, in several places. Each is numbered, and the
numbers beside a comparison lead to {errata}, which says what the report has
and what is done here."""

_SMOKE_PARAGRAPH = """\
*This is a smoke run.* It was made with the {reasons}, to show that every part works. Its figures
say nothing of the published experiment, and none of them is held against it."""

_PARTLY_SMOKE_PARAGRAPH = """\
*Some sections are smoke runs*, and say so in their headings. They were made with the {reasons}, to
show that every part works. Their figures say nothing of the published experiments, and none of them
is held against those."""

_READING = """\
Of *n* runs that differ in nothing but their seeds, with mean *m* and sample deviation *s*, one more
run lies within *d* of *m* with a probability of 95%, where *d* is *t* times *s* times the square
root of 1 + 1/*n*, and *t* is the 97.5% point of Student's distribution with one degree of freedom
less than there are runs. This is a prediction interval. It is wider than the confidence interval of
our mean, and rightly so: what is judged is one run's figure, not a mean. It supposes that runs
scatter as a normal distribution does.

A published figure was rounded when it was printed, so it counts as inside if it lies within half of
its last digit of the interval.

With two or three seeds *t* is large (12.7 and 4.3) and the intervals are wide: *inside* then says
little, and *outside* says much. With ten seeds or more the intervals are narrow. Even if every
experiment were repeated perfectly, one published figure in twenty would be outside by chance alone.

The verdicts of one table are not independent. Losses and accuracies of the same runs rise and fall
together, and a published run that went well went well in all its figures."""


ORIGIN = """\
What follows was recorded when the runs were trained: the code and the packages, the machine, the
data files, and the spec of each job. The same spec on the same machine and versions gives the same
figures again, but for the times."""


def make_introduction(
    source: str | None, errata_anchor: str | None, smoke_kinds: Sequence[str], *, is_all_smoke: bool
) -> tuple[Text, ...]:
    """What the report is and how it compares; a smoke run says so first."""
    parts = [_INTRODUCTION.replace("{source}", f" ({source})" if source else "")]
    if smoke_kinds:
        smoke = _SMOKE_PARAGRAPH if is_all_smoke else _PARTLY_SMOKE_PARAGRAPH
        parts.insert(0, smoke.replace("{reasons}", list_words(smoke_kinds)))
    if errata_anchor is not None:
        parts.append(_ERRATA_PARAGRAPH)
    link = Span("the appendix on errata", target=errata_anchor)
    return tuple(_put(paragraph, "{errata}", link) for part in parts for paragraph in parse(part))


def _put(text: Text, place: str, link: Span) -> Text:
    """The text with a link in a place."""
    spans: list[Span] = []
    for span in text:
        before, found, after = span.text.partition(place)
        spans += (
            [Span(before, span.emphasis), link, Span(after, span.emphasis)] if found else [span]
        )
    return tuple(spans)


def explain_verdicts() -> tuple[Text, ...]:
    """How the interval is made, and what a verdict says and does not say."""
    return parse(_READING)


def parse(text: str) -> tuple[Text, ...]:
    """Paragraphs, parted by blank lines, in which *words* are emphasised; no other markup."""
    paragraphs = [" ".join(part.split()) for part in _BLANK_LINES.split(text.strip())]
    return tuple(_parse_paragraph(paragraph) for paragraph in paragraphs if paragraph)


def _parse_paragraph(text: str) -> Text:
    parts = _EMPHASIS.split(text)  # plain and emphasised by turns
    return tuple(Span(part, emphasis=i % 2 == 1) for i, part in enumerate(parts) if part)


def say_outcome(counts: Mapping[str, int]) -> Text:
    """How many published figures lie where, in a sentence; empty where there is none."""
    total = sum(counts.values())
    if not total:
        return ()
    words = {
        "inside": "inside the interval of one more run of ours",
        "outside": "outside it" if counts["inside"] else "outside the interval of one more run",
        "not_comparable": "not compared",
    }
    parts = [
        f"{number} {'is' if number == 1 else 'are'} {words[name]}"
        for name, number in counts.items()
        if number
    ]
    if total == 1:
        return (Span(f"The one published figure {parts[0].removeprefix('1 ')}."),)
    if counts["not_comparable"] == total:
        return (Span(f"None of the {total} published figures is compared."),)
    if len(parts) == 1:
        name = next(name for name, number in counts.items() if number)
        return (Span(f"All {total} published figures are {words[name]}."),)
    return (Span(f"Of {total} published figures {list_words(parts)}."),)


def say_smoke(reasons: Sequence[str]) -> str | None:
    """The words of a smoke run's heading."""
    return f"smoke run: {', '.join(reasons)}" if reasons else None


def make_banner(reasons: Sequence[str], *, is_all_smoke: bool) -> str:
    """What stands on every page of a report with smoke runs in it."""
    if not reasons:
        return ""
    what = "smoke run" if is_all_smoke else "partly smoke runs"
    return capitalise(f"{what}: {', '.join(reasons)}")
