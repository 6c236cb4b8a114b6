import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from report_cases import ERRATA, FIGURE, FILES, STARTED, SVG, make_job, make_png, make_results

from fmx_ml.experiments import QUESTIONS
from fmx_ml.report import JobReport, compose
from fmx_ml.report.document import Text
from fmx_ml.report.pictures import MAX_SVG_BYTES, arrange
from fmx_ml.report.prose import explain_verdicts, parse
from fmx_ml.results import Figure


def say(text: Text) -> str:
    return "".join(span.text for span in text)


def test_a_job_becomes_a_section() -> None:
    document = compose([make_job()])
    section = document.sections[0]
    assert section.heading == "Q1 · One network trained to convergence"
    assert [say(paragraph) for paragraph in section.paragraphs] == [
        "A network learns.", "It stops by itself.",
    ]  # fmt: skip
    assert say(section.outcome) == (
        "Of 3 published figures 1 is inside the interval of one more run of ours, "
        "1 is outside it and 1 is not compared."
    )
    facts = {fact.name: fact.value for fact in section.facts}
    assert facts["Wall time"] == "1 h 02 min 03 s"
    assert facts["Runs"] == "3, 5 min 02 s of training"
    assert facts["Data"] == "Fashion-MNIST, fm1"
    assert facts["Finished"] == "23 November 2026, 17:54 UTC"


def test_the_front_says_when_where_and_with_what() -> None:
    document = compose([make_job(), make_job(make_results("q3"))])
    facts = {fact.name: fact.value for fact in document.facts}
    assert document.subtitle == "Q1 and Q3 · 23 November 2026"
    assert document.dated == int((STARTED + timedelta(seconds=3723)).timestamp())
    assert facts["Jobs"] == "2 jobs, 6 runs"
    assert facts["Wall time"] == "1 h 02 min 03 s"  # side by side
    assert facts["Machine"] == "A Processor, 8 cores; trained on cpu"
    assert facts["Versions"] == "fmx 0.1.0 at 0123456789-dirty, Python 3.12.1, torch 2.11.0"


def test_wall_time_counts_every_moment_once() -> None:
    def job(begin: int, end: int) -> JobReport:
        started, finished = (STARTED + timedelta(minutes=at) for at in (begin, end))
        return make_job(started_at=started, finished_at=finished)

    document = compose([job(50, 60), job(0, 30), job(10, 20), job(25, 40)])
    facts = {fact.name: fact.value for fact in document.facts}
    assert facts["Wall time"] == "50 min 00 s"


def test_without_a_job_there_is_no_report() -> None:
    with pytest.raises(ValueError, match="a finished job"):
        compose([])


def test_a_job_that_no_server_ran_and_an_unknown_kind_are_told_too() -> None:
    results = make_results("zz_9", tables=[], figures=[], comparisons=[], errata=[])
    job = make_job(results, manifest={}, about="", title="", created_at=None, started_at=None,
                   finished_at=None)  # fmt: skip
    document = compose([job])
    assert document.sections[0].heading == "ZZ_9"
    assert document.sections[0].anchor == "zz-9"
    assert document.sections[0].comparisons is None
    assert [appendix.anchor for appendix in document.appendices] == ["origin"]
    assert (document.subtitle, document.dated) == ("ZZ_9", 0)


def test_several_jobs_of_a_kind_are_told_apart() -> None:
    sections = compose([make_job(name="first"), make_job(id="B")]).sections
    assert [section.anchor for section in sections] == ["q1-1", "q1-2"]
    assert [section.heading.rpartition(" · ")[2] for section in sections] == ["first", "B"]


def test_an_erratum_is_told_once_with_its_evidence() -> None:
    bare = [erratum.model_copy(update={"evidence": None}) for erratum in reversed(ERRATA)]
    document = compose([make_job(make_results(errata=bare)), make_job(make_results("q4"))])
    told = document.appendices[0].errata
    assert [erratum.number for erratum in told] == [1, 11]
    assert told[1].evidence == "x 32 = 0.69."


@pytest.mark.parametrize(
    ("fields", "smoke"),
    [
        ({"preset": "quick"}, "smoke run: quick preset"),
        ({"dataset": "synthetic"}, "smoke run: synthetic data"),
        ({"preset": "quick", "dataset": "synthetic"}, "smoke run: quick preset, synthetic data"),
    ],
)
def test_a_smoke_run_says_so_everywhere(fields: dict[str, Any], smoke: str) -> None:
    document = compose([make_job(make_results(**fields))])
    assert document.is_smoke
    assert document.title.startswith("Smoke run: ")
    assert document.banner == smoke.capitalize()
    assert document.sections[0].heading.endswith(f"({smoke})")
    assert say(document.introduction[0]).startswith("This is a smoke run.")


def test_a_report_that_is_partly_a_smoke_run_says_which_part() -> None:
    document = compose([make_job(), make_job(make_results("q2", preset="quick"))])
    assert document.is_smoke
    assert document.banner == "Partly smoke runs: quick preset"
    assert not document.title.startswith("Smoke run")
    assert [section.is_smoke for section in document.sections] == [False, True]


def test_a_report_of_the_real_thing_has_no_banner() -> None:
    document = compose([make_job()])
    assert not document.is_smoke
    assert document.banner == ""


def test_the_drawing_is_taken_unless_it_is_too_large() -> None:
    picture = compose([make_job()]).sections[0].figures[0].pictures[0]
    assert (picture.path, picture.width, picture.height) == ("figure-1-loss.svg", 288, 144)
    large = SVG.replace(b"<path", b" " * MAX_SVG_BYTES + b"<path")
    job = make_job(files=FILES | {"figure-1-loss.svg": large})
    picture = compose([job]).sections[0].figures[0].pictures[0]
    assert (picture.path, picture.width, picture.height) == ("figure-1-loss.png", 288, 144)


def test_a_picture_that_can_not_be_had_is_named() -> None:
    def problem(files: dict[str, bytes]) -> str | None:
        return compose([make_job(files=files)]).sections[0].figures[0].pictures[0].problem

    assert problem({}) == "figure-1-loss.svg is missing; figure-1-loss.png is missing"
    assert problem({"figure-1-loss.png": FILES["figure-1-loss.png"]}) is None
    broken = {"figure-1-loss.svg": b"<svg", "figure-1-loss.png": make_png(9, 9)[:-5]}
    assert problem(broken) == "figure-1-loss.svg can't be read; figure-1-loss.png can't be read"


def test_pictures_of_one_size_stand_beside_each_other() -> None:
    names = ["sheet.png", *(f"{i}.png" for i in range(5))]
    small = {name: make_png(500, 300) for name in names[1:]}
    figure = Figure(number="4", title="Many", artifacts=names)
    job = make_job(make_results(figures=[figure]), {"sheet.png": make_png(1280, 900), **small})
    placed = compose([job]).sections[0].figures[0]
    strips = arrange(placed.pictures)
    assert [(len(strip.pictures), strip.per_row) for strip in strips] == [(1, 1), (5, 3)]
    assert placed.pictures[1].alt == "Many, picture 2 of 6"


def test_figures_that_the_report_lacks_bear_no_number() -> None:
    figures = [FIGURE, FIGURE.model_copy(update={"number": "samples"})]
    placed = compose([make_job(make_results(figures=figures))]).sections[0].figures
    assert [figure.label for figure in placed] == ["Figure 1", "Added figure"]
    assert placed[0].numbers == ("figure-1-loss.csv",)


def test_tables_are_numbered_through() -> None:
    document = compose([make_job(), make_job(make_results("q2"))])
    grids = [document.summary]
    for section in document.sections:
        grids += [*section.tables, *([section.comparisons] if section.comparisons else [])]
    grids += [table for appendix in document.appendices for table in appendix.tables]
    assert [grid.label for grid in grids] == [f"Table {i}" for i in range(1, len(grids) + 1)]


def test_every_question_tells_itself_in_plain_paragraphs() -> None:
    for question in QUESTIONS:
        job = make_job(make_results(question.kind), title=question.title, about=question.about)
        section = compose([job]).sections[0]
        assert section.heading.startswith(f"{question.kind.upper()} · ")
        assert not section.heading.endswith(".")
        assert not any("*" in say(paragraph) for paragraph in section.paragraphs)


def test_emphasis_is_the_only_markup() -> None:
    (paragraph,) = parse("a *b c* 2 * 3 <i>\n_d_")
    assert [(span.text, span.emphasis) for span in paragraph] == [
        ("a ", False), ("b c", True), (" 2 * 3 <i> _d_", False),
    ]  # fmt: skip
    assert not any("*" in say(paragraph) for paragraph in explain_verdicts())


def test_the_outcome_is_a_sentence_whatever_the_numbers() -> None:
    (inside,) = (c for c in make_results().comparisons if c.verdict == "inside")
    (barred,) = (c for c in make_results().comparisons if c.verdict == "not_comparable")

    def outcome(*comparisons: object) -> str:
        results = make_results().model_copy(update={"comparisons": list(comparisons)})
        return say(compose([make_job(results)]).sections[0].outcome)

    assert outcome() == ""
    assert outcome(inside) == (
        "The one published figure is inside the interval of one more run of ours."
    )
    assert outcome(inside, inside) == (
        "All 2 published figures are inside the interval of one more run of ours."
    )
    assert outcome(barred, barred) == "None of the 2 published figures is compared."


def test_environments_that_differ_stand_side_by_side() -> None:
    job = make_job()
    other = {**job.manifest["environments"][0], "cpu": "Another", "threads": 2}
    second = replace(job, manifest={**job.manifest, "environments": [other]})
    table = compose([job, second]).appendices[-1].tables[0]
    assert [column.heading for column in table.columns] == ["Property", "Machine 1", "Machine 2"]
    rows = {say(row[0].text): [say(cell.text) for cell in row[1:]] for row in table.groups[0].rows}
    assert rows["Processor"] == ["A Processor", "Another"]
    assert rows["Threads of a training"] == ["–", "2"]  # noqa: RUF001 - an en dash


def test_the_report_needs_nothing_that_trains_or_draws() -> None:
    code = (
        "import sys, fmx_ml.report; "
        "print([m for m in ('torch', 'matplotlib', 'numpy', 'fastapi', 'sqlmodel', 'PIL') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
