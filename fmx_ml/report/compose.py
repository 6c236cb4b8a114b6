"""Finished jobs in, a document out: sections, summary and appendices, as every rendering has them.

Nothing here, or in what it imports, reaches torch, numpy, matplotlib, the web or the database.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from fmx_ml.published import published_figures
from fmx_ml.report import formats, grids, prose, provenance
from fmx_ml.report.document import (
    Appendix,
    Cell,
    Column,
    Document,
    ErratumNote,
    Fact,
    Grid,
    Listing,
    RowGroup,
    Section,
    Span,
)
from fmx_ml.report.formats import DASH
from fmx_ml.report.pictures import ReadArtifact, place_figure
from fmx_ml.results import Erratum, Results

_TITLE = "Experiments beside a published report"
_ERRATA, _READING, _ORIGIN = "errata", "verdicts", "origin"  # anchors of the appendices


@dataclass(frozen=True)
class JobReport:
    """A finished job and what it left.

    `title` and `about` are its question's: one line, and paragraphs in which *words* are
    emphasised. `artifacts` gives the bytes of a figure's file by its path, and raises LookupError
    or OSError where it has none. A job that no server ran has no times.
    """

    id: str
    name: str | None
    results: Results
    manifest: Mapping[str, Any]
    title: str
    about: str
    artifacts: ReadArtifact
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def smoke_reasons(self) -> tuple[str, ...]:
        """Why its figures are not those of the report's experiment, if they are not."""
        chosen = {"preset": self.results.preset, "dataset": self.results.dataset}
        return tuple(words for (what, value), words in prose.SMOKE.items() if chosen[what] == value)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Its start and its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.started_at, self.finished_at

    @property
    def wall_seconds(self) -> float | None:
        """From its start to its end."""
        return None if self.span is None else (self.span[1] - self.span[0]).total_seconds()


@dataclass(frozen=True)
class _Place:
    """A job's place in the document: its key is unique and names its files and anchors."""

    job: JobReport
    key: str
    heading: str


def compose(jobs: Sequence[JobReport]) -> Document:
    """The report on some finished jobs, a section each, in their order.

    Raises:
        ValueError: there is no job.
    """
    if not jobs:
        raise ValueError("a report needs a finished job")
    places = _place(jobs)
    numbers = count(1)
    errata = _collect_errata(jobs)
    reasons = tuple(dict.fromkeys(reason for job in jobs for reason in job.smoke_reasons))
    is_all_smoke = all(job.smoke_reasons for job in jobs)
    newest = max((at for job in jobs if (at := job.finished_at or job.created_at)), default=None)
    subtitle = formats.list_words(list(dict.fromkeys(job.results.kind.upper() for job in jobs)))
    summary = _summarise(places, numbers)
    return Document(
        title=f"Smoke run: {_TITLE.lower()}" if reasons and is_all_smoke else _TITLE,
        subtitle=f"{subtitle} · {formats.format_date(newest)}" if newest else subtitle,
        smoke_reasons=reasons,
        banner=prose.make_banner(reasons, is_all_smoke=is_all_smoke),
        dated=int(newest.timestamp()) if newest else 0,
        facts=tuple(_list_facts(jobs)),
        introduction=prose.make_introduction(
            _find_source(jobs), _ERRATA if errata else None, reasons, is_all_smoke=is_all_smoke
        ),
        summary=summary,
        sections=tuple(_make_section(place, errata, numbers) for place in places),
        appendices=tuple(_make_appendices(places, errata, numbers)),
    )


def _place(jobs: Sequence[JobReport]) -> list[_Place]:
    """Keys and headings; of several jobs of a kind each one's heading says which it is."""
    total = Counter(job.results.kind for job in jobs)
    seen: Counter[str] = Counter()
    places: list[_Place] = []
    for job in jobs:
        kind = job.results.kind
        seen[kind] += 1
        heading = _make_heading(job)
        key = re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "job"
        if total[kind] > 1:
            heading = f"{heading} · {job.name or job.id}"
            key = f"{key}-{seen[kind]}"
        places.append(_Place(job, key, heading))
    return places


def _make_heading(job: JobReport) -> str:
    """The kind and its title, as in Q1 · One convolutional network."""
    kind = job.results.kind
    title = re.sub(rf"^{re.escape(kind)}\s*[:·]\s*", "", job.title, flags=re.IGNORECASE)
    heading = f"{kind.upper()} · {formats.capitalise(title.strip().rstrip('.'))}"
    return heading.rstrip(" ·")


def _collect_errata(jobs: Iterable[JobReport]) -> dict[int, Erratum]:
    """Each erratum once, by number; of two texts the one that has evidence."""
    errata: dict[int, Erratum] = {}
    for job in jobs:
        for erratum in job.results.errata:
            known = errata.get(erratum.number)
            if known is None or (known.evidence is None and erratum.evidence is not None):
                errata[erratum.number] = erratum
    return dict(sorted(errata.items()))


def _find_source(jobs: Iterable[JobReport]) -> str | None:
    """How the published report is cited."""
    sources = (published_figures(job.results.kind).get("source") for job in jobs)
    return next((source for source in sources if source), None)


def _list_facts(jobs: Sequence[JobReport]) -> Iterable[Fact]:
    manifests = [job.manifest for job in jobs]
    ends = sorted(job.finished_at for job in jobs if job.finished_at)
    if ends:
        days = dict.fromkeys(map(formats.format_date, (ends[0], ends[-1])))
        yield Fact("Finished", " to ".join(days))
    runs = sum(len(provenance.list_of(manifest, "runs")) for manifest in manifests)
    yield Fact("Jobs", f"{formats.count(len(jobs), 'job')}, {formats.count(runs, 'run')}")
    spans = [span for job in jobs if (span := job.span) is not None]
    if spans:
        yield Fact("Wall time", formats.format_duration(_union_seconds(spans)))
    trained = [provenance.training_seconds(manifest) for manifest in manifests]
    if any(trained):
        yield Fact("Training time", _say_total(sum(trained), runs))
    datasets = dict.fromkeys(provenance.name_dataset(job.results.dataset) for job in jobs)
    yield Fact("Data", formats.list_words(list(datasets)))
    if machines := provenance.list_machines(manifests):
        yield Fact("Machine" if len(machines) == 1 else "Machines", "; ".join(machines))
    if versions := provenance.list_versions(manifests):
        yield Fact("Versions", "; ".join(versions))


def _union_seconds(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """How long at least one of them lasted: jobs may run side by side, or days apart."""
    total = timedelta()
    covered_to: datetime | None = None
    for begin, end in sorted(spans):
        begin_uncovered = begin if covered_to is None else max(begin, covered_to)
        total += max(end - begin_uncovered, timedelta())
        covered_to = end if covered_to is None else max(end, covered_to)
    return total.total_seconds()


def _say_total(seconds: float, parts: int) -> str:
    return formats.format_duration(seconds) + (" in all" if parts > 1 else "")


def _summarise(places: Sequence[_Place], numbers: Iterable[int]) -> Grid:
    """A row a job: its verdicts, its runs, its time."""
    columns = (
        Column("Section", is_long=True), Column("Data"), Column("Seeds", is_numeric=True),
        Column("Runs", is_numeric=True), Column("Inside", is_numeric=True),
        Column("Outside", is_numeric=True), Column("Not compared", is_numeric=True),
        Column("Wall time", is_numeric=True),
    )  # fmt: skip
    rows = tuple(_summarise_job(place) for place in places)
    return Grid(
        anchor="summary",
        label=f"Table {_next(numbers)}",
        title="The jobs of this report, and where the published figures lie",
        columns=columns,
        groups=(RowGroup(rows),),
    )


def _summarise_job(place: _Place) -> tuple[Cell, ...]:
    job = place.job
    smoke = prose.say_smoke(job.smoke_reasons)
    heading = Span(place.heading, target=place.key)
    texts = [
        provenance.name_dataset(job.results.dataset),
        str(len(provenance.list_of(job.manifest, "seeds"))),
        str(len(provenance.list_of(job.manifest, "runs"))),
        *(str(number) for number in grids.tally(job.results.comparisons).values()),
        _say_wall(job),
    ]
    first = (heading, Span(f" ({smoke})")) if smoke else (heading,)
    return (Cell(first), *(Cell(grids.plain(text)) for text in texts))


def _say_wall(job: JobReport) -> str:
    return DASH if job.wall_seconds is None else formats.format_duration(job.wall_seconds)


def _make_section(place: _Place, errata: Mapping[int, Erratum], numbers: Iterable[int]) -> Section:
    job, results, key = place.job, place.job.results, place.key
    smoke = prose.say_smoke(job.smoke_reasons)
    tables = tuple(
        grids.make_grid(f"{key}-table-{i}", f"Table {_next(numbers)}", table)
        for i, table in enumerate(results.tables, start=1)
    )
    comparisons = None
    if results.comparisons:
        comparisons = grids.make_comparison_grid(
            f"{key}-comparisons",
            f"Table {_next(numbers)}",
            results.kind,
            results.comparisons,
            errata,
        )
    return Section(
        anchor=key,
        key=key,
        heading=f"{place.heading} ({smoke})" if smoke else place.heading,
        smoke=smoke,
        paragraphs=prose.parse(job.about),
        facts=tuple(_list_job_facts(job)),
        outcome=prose.say_outcome(grids.tally(results.comparisons)),
        comparisons=comparisons,
        figures=tuple(
            place_figure(f"{key}-figure-{i}", figure, job.artifacts)
            for i, figure in enumerate(results.figures, start=1)
        ),
        tables=tables,
        errata=grids.link_errata((e.number for e in results.errata), errata),
    )


def _list_job_facts(job: JobReport) -> Iterable[Fact]:
    manifest, results = job.manifest, job.results
    yield Fact("Job", f"{job.name} ({job.id})" if job.name else job.id)
    yield Fact("Preset", results.preset)
    yield Fact("Data", provenance.describe_data(results.dataset, manifest))
    seeds = [str(seed) for seed in provenance.list_of(manifest, "seeds")]
    if seeds:
        yield Fact("Seeds", ", ".join(seeds))
    if runs := provenance.list_of(manifest, "runs"):
        trained = formats.format_duration(provenance.training_seconds(manifest))
        yield Fact("Runs", f"{len(runs)}, {trained} of training")
    if devices := provenance.list_of(manifest, "devices"):
        yield Fact("Device", ", ".join(map(str, devices)))
    times = {
        "Submitted": job.created_at, "Started": job.started_at, "Finished": job.finished_at,
    }  # fmt: skip
    yield from (Fact(name, formats.format_moment(at)) for name, at in times.items() if at)
    if job.wall_seconds is not None:
        yield Fact("Wall time", formats.format_duration(job.wall_seconds))
    if spec_hash := manifest.get("spec_hash"):
        yield Fact("Spec", f"sha256 {spec_hash}")


def _make_appendices(
    places: Sequence[_Place], errata: Mapping[int, Erratum], numbers: Iterable[int]
) -> Iterable[Appendix]:
    letters = iter("ABC")
    if errata:
        yield Appendix(
            anchor=_ERRATA,
            heading=f"Appendix {next(letters)} · Errata of the published report",
            errata=tuple(map(_make_note, errata.values())),
        )
    if any(place.job.results.comparisons for place in places):
        yield Appendix(
            anchor=_READING,
            heading=f"Appendix {next(letters)} · How to read the verdicts",
            paragraphs=prose.explain_verdicts(),
        )
    yield _make_origin(f"Appendix {next(letters)}", places, numbers)


def _make_note(erratum: Erratum) -> ErratumNote:
    return ErratumNote(
        anchor=grids.name_erratum(erratum.number),
        number=erratum.number,
        where=erratum.where,
        says=erratum.says,
        done=erratum.done,
        evidence=erratum.evidence,
    )


def _make_origin(label: str, places: Sequence[_Place], numbers: Iterable[int]) -> Appendix:
    """Environments, data and specs: enough to make the figures again."""
    manifests = [place.job.manifest for place in places]
    tables: list[Grid] = []
    for anchor, (title, columns, rows) in provenance.tabulate(manifests).items():
        table_label = f"Table {_next(numbers)}"
        tables.append(
            grids.make_plain_grid(f"{_ORIGIN}-{anchor}", table_label, title, columns, rows)
        )
    return Appendix(
        anchor=_ORIGIN,
        heading=f"{label} · What the figures were made from",
        paragraphs=prose.parse(prose.ORIGIN),
        tables=tuple(tables),
        listings=tuple(
            Listing(
                anchor=f"{place.key}-spec",
                title=f"The spec of {place.heading}",
                text=provenance.format_json(place.job.manifest["spec"]),
            )
            for place in places
            if "spec" in place.job.manifest
        ),
    )


def _next(numbers: Iterable[int]) -> int:
    return next(iter(numbers))
