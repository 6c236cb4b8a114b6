import re

from report_cases import FIGURE, SVG, make_job, make_results

from fmx_ml.report import compose, list_figure_files, render_markdown


def test_the_text_holds_tables_with_verdicts() -> None:
    text = render_markdown(compose([make_job()]))
    assert text.startswith("# Experiments beside a published report\n")
    assert "\n## Q1 · One network trained to convergence\n" in text
    assert "| test, best epoch | 0.9816 | 0.9812 ± 0.0005 | 205 | ✓ inside |" in text
    assert "| Validation | 0.5000 | 0.9815 | 0.0005 | 3 | 0.9790 to 0.9840 | ✗ outside |" in text
    assert "○ not compared<sup>a</sup>" in text
    assert "**Measured:** x 32 = 0.69." in text
    assert "It *stops* by itself." in text


def test_every_row_has_as_many_cells_as_its_head() -> None:
    text = render_markdown(compose([make_job(name="a | b")]))
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_links_lead_to_anchors() -> None:
    text = render_markdown(compose([make_job(), make_job(make_results("q3"))]))
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    anchors |= {f"erratum-{n}" for n in re.findall(r"\n### Erratum (\d+)\n", text)}
    assert {"erratum-1", "q1", "q3", "errata"} <= targets
    assert targets <= anchors


def test_figures_are_linked_where_a_folder_is_named() -> None:
    document = compose([make_job()])
    assert "![" not in render_markdown(document)
    text = render_markdown(document, "figures")
    assert "![Training and validation loss](<figures/q1/figure-1-loss.svg>)" in text
    assert list_figure_files(document) == {"q1/figure-1-loss.svg": SVG}
    assert "**Figure 1** · Training and validation loss" in text


def test_a_missing_picture_is_named_in_its_place() -> None:
    document = compose([make_job(files={})])
    assert "*figure-1-loss.svg is missing; figure-1-loss.png is missing*" in render_markdown(
        document, "figures"
    )
    assert list_figure_files(document) == {}


def test_what_users_wrote_is_shown_and_not_obeyed() -> None:
    text = render_markdown(compose([make_job(name="<b>x</b> | *y* [z](u) `c` _d_\n# e")]))
    shown = r"&lt;b&gt;x&lt;/b&gt; \| \*y\* \[z\](u) \`c\` \_d\_ # e"
    assert shown in text


def test_a_smoke_run_is_said_at_the_top_and_in_its_heading() -> None:
    text = render_markdown(compose([make_job(make_results(preset="quick"))]))
    assert text.startswith("# Smoke run: ")
    assert "> **Smoke run: quick preset.**" in text
    assert "(smoke run: quick preset)\n" in text


def test_a_paragraph_is_never_taken_for_a_list_or_heading() -> None:
    text = render_markdown(compose([make_job(about="1. one\n\n- two\n\n# three\n\n+ four")]))
    assert "\n1\\. one\n\n\\- two\n\n\\# three\n\n\\+ four\n" in text


def test_a_fence_is_longer_than_any_run_of_backticks_in_it() -> None:
    job = make_job(make_results(figures=[FIGURE]))
    text = render_markdown(compose([make_job(manifest={**job.manifest, "spec": {"a": "````"}})]))
    assert '```````json\n{"a": "````"}\n```````' in text
