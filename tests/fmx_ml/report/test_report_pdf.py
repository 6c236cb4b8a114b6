from io import BytesIO

from pypdf import PdfReader
from report_cases import FIGURE, FILES, make_job, make_png, make_results

from fmx_ml.report import JobReport, compose, render_pdf
from fmx_ml.results import Figure, Table, compare


def read(*jobs: JobReport) -> PdfReader:
    return PdfReader(BytesIO(render_pdf(compose(jobs))))


def say(reader: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def make_table(num_columns: int, num_rows: int) -> Table:
    columns = ["configuration", *(f"validation_accuracy_{i}" for i in range(num_columns - 1))]
    return Table(
        name="wide",
        title="A table",
        columns=columns,
        rows=[
            [f"row-{i}", *((i + 1) / (j + 7) for j in range(num_columns - 1))]
            for i in range(num_rows)
        ],
    )


def test_the_pdf_holds_what_the_report_says() -> None:
    reader = read(make_job())
    text = say(reader)
    for words in ("Experiments beside a published report", "Q1 · One network trained",
                  "0.9812 ± 0.0005", "✓ inside", "✗ outside", "○ not compared",
                  "Figure 1 · Training and validation loss", "It keeps a reference.",
                  "x 32 = 0.69.", '"max_epochs": 450', "1 h 02 min 03 s"):  # fmt: skip
        assert words in text
    assert reader.metadata is not None
    assert reader.metadata.title == "Experiments beside a published report"
    assert str(reader.metadata.get("/CreationDate")).startswith("D:20261123175403")


def test_equal_reports_are_equal_files() -> None:
    assert render_pdf(compose([make_job()])) == render_pdf(compose([make_job()]))


def test_every_page_says_that_it_is_a_smoke_run() -> None:
    job = make_job(make_results(preset="quick", tables=[make_table(9, 90), make_table(30, 3)]))
    pages = [page.extract_text() for page in read(job).pages]
    assert len(pages) > 5
    assert all("Smoke run: quick preset" in page for page in pages)


def test_no_page_of_the_real_thing_says_so() -> None:
    assert "moke run" not in say(read(make_job()))


def test_a_long_table_repeats_its_head() -> None:
    reader = read(make_job(make_results(tables=[make_table(4, 120)])))
    with_rows = [text for page in reader.pages if "row-" in (text := page.extract_text())]
    assert len(with_rows) > 1
    assert all("Configuration" in text for text in with_rows)


def test_a_wide_table_lies_on_its_side_and_a_wider_one_is_split() -> None:
    upright, sideways = (595, 842), (842, 595)

    def sizes(num_columns: int) -> set[tuple[int, int]]:
        reader = read(make_job(make_results(tables=[make_table(num_columns, 3)])))
        found = [page for page in reader.pages if "row-" in page.extract_text()]
        return {(round(float(p.mediabox.width)), round(float(p.mediabox.height))) for p in found}

    assert sizes(6) == {upright}
    assert sizes(18) == {sideways}
    assert sizes(40) == {sideways}
    text = say(read(make_job(make_results(tables=[make_table(40, 3)]))))
    assert "(further columns)" in text
    assert "accuracy 38" in text


def test_a_missing_picture_is_named_and_broken_ones_do_no_harm() -> None:
    figure = Figure(number="2", title="Broken", artifacts=["a.svg", "b.png"])
    files = {**FILES, "a.svg": b"no picture", "b.png": b"neither"}
    text = say(read(make_job(make_results(figures=[FIGURE, figure]), files)))
    assert "a.svg can't be read" in text
    assert "b.png can't be read" in text
    assert "figure-1-loss.svg is missing" in say(read(make_job(files={})))


def test_what_users_wrote_is_shown_and_not_obeyed() -> None:
    name = '#panic("no") <label> *b* @ref $x$ \\ /* `r`'
    assert name in say(read(make_job(name=name)))


def test_pictures_and_comparisons_of_many_kinds_fit_on_pages() -> None:
    names = [f"{i}.png" for i in range(21)]
    files = {name: make_png(1280, 736, grey) for grey, name in enumerate(names)}
    files["0.png"] = make_png(800, 3000, 255)
    many = Figure(number="4", title="Twenty-one", artifacts=names)
    comparisons = [
        compare(f"q2.model_{model}.{name}", 0.5, [0.4, 0.6, 0.5], errata=[1, 11])
        for model in range(1, 11)
        for name in ("train_loss", "val_loss", "test_loss", "test_accuracy_last_epoch")
    ]
    results = make_results("q2", figures=[many], comparisons=comparisons)
    reader = read(make_job(results, files))
    assert "Model 10" in say(reader)
    assert sum(len(page.images) for page in reader.pages) == 21


def test_links_lead_to_errata() -> None:
    reader = read(make_job())
    links = [
        annotation.get_object() for page in reader.pages for annotation in page.get("/Annots", [])
    ]
    assert len([link for link in links if link["/Subtype"] == "/Link"]) > 5
