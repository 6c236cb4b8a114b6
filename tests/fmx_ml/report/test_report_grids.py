from report_cases import COMPARISONS, TABLE

from fmx_ml.report.document import Cell, Grid
from fmx_ml.report.grids import make_comparison_grid, make_grid
from fmx_ml.results import Table, compare


def say(cell: Cell) -> str:
    if cell.verdict is not None:
        return f"{cell.verdict.symbol} {cell.verdict.word}{cell.mark}"
    return "".join(span.text for span in cell.text)


def rows_of(grid: Grid) -> list[list[str]]:
    return [[say(cell) for cell in row] for group in grid.groups for row in group.rows]


def grid_of(columns: list[str], *rows: list[str | int | float | None]) -> Grid:
    return make_grid("a", "Table 1", Table(name="t", title="T", columns=columns, rows=list(rows)))


def test_a_table_is_set_with_words_and_digits() -> None:
    grid = make_grid("a", "Table 1", TABLE)
    assert [column.heading for column in grid.columns] == [
        "Figure", "Published", "Mean", "Best epoch", "Verdict",
    ]  # fmt: skip
    assert [column.is_numeric for column in grid.columns] == [False, True, True, True, False]
    assert rows_of(grid) == [
        ["test, best epoch", "0.9816", "0.9812 ± 0.0005", "205", "✓ inside"],
        ["training, best weights", "–", "0.9900 ± 0.0010", "203.5", "–"],  # noqa: RUF001
    ]


def test_empty_columns_are_left_out() -> None:
    grid = grid_of(["run", "loss", "loss_std", "further"], ["a", 0.5, None, None], ["b"])
    assert [column.heading for column in grid.columns] == ["Run", "Loss"]
    assert [row[1].pad for row in grid.groups[0].rows] == ["", ".0000"]


def test_a_table_may_have_no_row_or_rows_that_are_too_short() -> None:
    assert rows_of(grid_of(["run", "loss"])) == []
    assert rows_of(grid_of(["run", "loss"], ["a", 0.5], ["b"])) == [["a", "0.5000"], ["b", "–"]]  # noqa: RUF001


def test_decimal_points_stand_in_line() -> None:
    grid = grid_of(["figure", "mean"], ["loss", 0.5], ["epoch", 205.0], ["other", None])
    assert [row[1].pad for group in grid.groups for row in group.rows] == ["", ".0000", ".0000"]


def test_a_figure_without_a_deviation_stands_in_line_with_those_that_have_one() -> None:
    grid = grid_of(["class", "f1", "f1_std"], ["Coat", 0.5, 0.1], ["Bag", 0.6, None])
    cells = [row[1] for row in grid.groups[0].rows]
    assert [say(cell) + cell.pad for cell in cells] == ["0.5000 ± 0.1000", "0.6000 ± 0.0000"]
    assert [cell.pad for cell in cells] == ["", " ± 0.0000"]


def test_a_share_is_no_number_of_epochs_whatever_its_row_is_called() -> None:
    grid = grid_of(["figure", "mean"], ["frozen, last epoch", 0.94], ["best epoch", 205.5])
    assert [row[1] for row in rows_of(grid)] == ["0.9400", "205.5"]


def test_values_of_a_spec_seeds_and_times_have_their_own_digits() -> None:
    columns = ["seed", "learning_rate", "weight_decay", "seconds", "percent", "units"]
    grid = grid_of(columns, [123456, 0.0005, 0.0, 4000.4, 5.0, 25000])
    assert rows_of(grid) == [["123456", "0.0005", "0", "1 h 06 min 40 s", "5", "25,000"]]


def test_rows_of_one_thing_are_a_group_that_names_it_once() -> None:
    grid = grid_of(
        ["model", "configuration", "whose", "val_loss"],
        [1, "SGD", "published", 0.05],
        [1, None, "ours", 0.06],
        [2, "Adam", "published", 0.07],
        [2, None, "ours", None],
    )
    assert [len(group.rows) for group in grid.groups] == [2, 2]
    first, second = grid.groups[0].rows
    assert [cell.num_rows for cell in first] == [2, 2, 1, 1]
    assert [cell.num_rows for cell in second] == [0, 0, 1, 1]
    assert [say(cell) for cell in grid.groups[1].rows[1][2:]] == ["ours", "–"]  # noqa: RUF001


def test_long_texts_are_broken_and_numbers_are_not() -> None:
    grid = grid_of(["configuration", "range"], ["two convolutions and three layers", "0.9 ± 0.1"])
    assert [(c.is_long, c.is_numeric) for c in grid.columns] == [(True, False), (False, True)]


def test_comparisons_stand_in_groups_with_their_reasons_below() -> None:
    grid = make_comparison_grid("a", "Table 2", "q1", COMPARISONS, errata=[1, 11])
    assert [group.heading for group in grid.groups] == ["Accuracy", ""]
    assert rows_of(grid) == [
        ["Test", "0.9816", "0.9815", "0.0005", "3", "0.9790 to 0.9840", "✓ inside", "1"],
        ["Validation", "0.5000", "0.9815", "0.0005", "3", "0.9790 to 0.9840", "✗ outside", "11"],
        ["Best epoch", "205", "203", "–", "1", "–", "○ not compareda", "1, 99"],  # noqa: RUF001
    ]
    note = grid.notes[0]
    assert (note.mark, note.text[0].text) == (
        "a", "Not compared: one run has no spread: ask for two seeds or more.",
    )  # fmt: skip


def test_only_errata_that_are_told_are_led_to() -> None:
    grid = make_comparison_grid("a", "Table 2", "q1", COMPARISONS, errata=[1])
    links = {span.text: span.target for row in grid.groups[1].rows for span in row[-1].text}
    assert links == {"1": "erratum-1", ", ": None, "99": None}


def test_a_reason_that_bars_all_needs_no_mark() -> None:
    barred = [
        compare(f"q2.model_1.{name}", 0.5, [0.5, 0.6], incomparable="the preset is quick")
        for name in ("val_loss", "test_loss_last_epoch")
    ]
    grid = make_comparison_grid("a", "Table 2", "q2", barred, errata=[])
    assert grid.groups[0].heading == "Model 1"
    assert [row[0] for row in rows_of(grid)] == ["Validation loss", "Test loss last epoch"]
    assert [note.mark for note in grid.notes] == [""]
    assert all(row[6].mark == "" for group in grid.groups for row in group.rows)


def test_a_figure_without_runs_of_ours_is_shown() -> None:
    grid = make_comparison_grid("a", "T", "q4", [compare("q4.final.train", 0.02155, [])], errata=[])
    assert rows_of(grid)[0][:6] == ["Final, training", "0.02155", "–", "–", "0", "–"]  # noqa: RUF001
