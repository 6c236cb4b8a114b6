"""Starts at shares of the training pictures: each at every share, and in pairs (Q4 and Q5).

A sweep holds finished runs by start, percent and seed; what has none is not in it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fmx_ml.experiments import shared
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.plots.recipes import Series
from fmx_ml.questions import Cell, Numbers
from fmx_ml.results import RunOutcome, Spread, Table, mean_interval, spread

Runs = dict[int, dict[int, RunOutcome]]  # of one start, by percent and seed
Start = TypeVar("Start", bound=str)


def gather(
    outcomes: Outcomes,
    starts: Iterable[Start],
    fractions: Sequence[int],
    seeds: Sequence[int],
    name_run: Callable[[Start, int, int], str],
) -> dict[Start, Runs]:
    """The sweep of the runs that have finished, found by their names."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    sweep: dict[Start, Runs] = {}
    for start in starts:
        for percent in fractions:
            for seed in seeds:
                if (outcome := by_name.get(name_run(start, percent, seed))) is not None:
                    sweep.setdefault(start, {}).setdefault(percent, {})[seed] = outcome
    return sweep


def list_outcomes(sweep: Mapping[Any, Runs]) -> list[RunOutcome]:
    """Every run of a sweep."""
    per_share = (by_seed for runs in sweep.values() for by_seed in runs.values())
    return [outcome for by_seed in per_share for outcome in by_seed.values()]


def tabulate_shares(
    sweep: Mapping[Start, Runs],
    labels: Mapping[Start, str],
    figures: Sequence[str],
    qualifier: str,
    note: str,
) -> Table:
    """A row a share and start: how many runs, and each figure's mean and deviation."""
    rows: list[list[Cell]] = []
    for percent in _list_percents(sweep):
        for start, runs in sweep.items():
            if outcomes := list(runs.get(percent, {}).values()):
                cells = [cell for name in figures for cell in shared.tell_spread(outcomes, name)]
                rows.append([percent, labels[start], len(outcomes), *cells])
    return Table(
        name="shares",
        title=f"Every start at every share of the training pictures{qualifier}",
        columns=["percent", "start", "runs",
                 *(column for name in figures for column in (name, f"{name}_std"))],
        rows=rows,
        note=note,
    )  # fmt: skip


def tabulate_differences(
    sweep: Mapping[Start, Runs],
    pairs: Sequence[tuple[Start, Start]],
    labels: Mapping[Start, str],
    figures: Sequence[str],
    title: str,
    note: str,
) -> list[Table]:
    """Each second of a pair minus its first, and the interval of that mean, by share.

    There is no table where no pair has a seed in common.
    """
    found = [(start, figure, pair_up(sweep, base, start, figure))
             for base, start in pairs for figure in figures]  # fmt: skip
    rows: list[list[Cell]] = []
    for percent in _list_percents(sweep):
        for _, start in pairs:
            gains = [gain[percent] for whose, _, gain in found
                     if whose == start and percent in gain]  # fmt: skip
            if gains:
                cells = [cell for gain in gains for cell in _tell_gain(gain)]
                rows.append([percent, labels[start], gains[0].n, *cells])
    if not rows:
        return []
    columns = [column for name in figures for column in (name, f"{name}_low", f"{name}_high")]
    interval = (
        "The mean difference lies between low and high with 95% probability; "
        "one pair has no such interval."
    )
    return [
        Table(
            name="differences",
            title=title,
            columns=["percent", "start", "pairs", *columns],
            rows=rows,
            note=f"{note} {interval}",
        )
    ]


def pair_up(
    sweep: Mapping[Start, Runs], base: Start, start: Start, figure: str
) -> dict[int, Spread]:
    """One start's figure minus another's, seed by seed, by share."""
    differences: dict[int, Spread] = {}
    for percent, ours in sweep.get(start, {}).items():
        theirs = sweep.get(base, {}).get(percent, {})
        values = [
            outcome.summary[figure] - theirs[seed].summary[figure]
            for seed, outcome in ours.items()
            if seed in theirs
        ]
        if values:
            differences[percent] = spread(values)
    return differences


def _tell_gain(gain: Spread) -> list[Cell]:
    return [gain.mean, *(mean_interval(gain) if gain.n > 1 else (None, None))]


def _list_percents(sweep: Mapping[Any, Runs]) -> list[int]:
    return sorted({percent for runs in sweep.values() for percent in runs})


def list_numbers(sweep: Mapping[Any, Runs], figures: Sequence[str]) -> Numbers:
    """A row a run."""
    rows: list[list[Cell]] = [
        [start, percent, seed, outcome.name, *(outcome.summary[name] for name in figures)]
        for start, runs in sweep.items()
        for percent, by_seed in runs.items()
        for seed, outcome in by_seed.items()
    ]
    return Numbers(["start", "percent", "seed", "run", *figures], rows)


def make_series(runs: Runs, figure: str, *, label: str, group: int, dashed: bool = False) -> Series:
    """The line of a start: each of its seeds at the same shares, as many values as can be had.

    Where runs have failed, either the seeds that lack many shares are left out, or the shares that
    some seeds lack.
    """
    values: dict[int, dict[int, float]] = {}
    for percent, by_seed in runs.items():
        for seed, outcome in by_seed.items():
            values.setdefault(seed, {})[percent] = outcome.summary[figure]
    fullest = sorted(values.values(), key=len, reverse=True)

    def common(count: int) -> list[int]:
        return sorted(set[int].intersection(*(set(line) for line in fullest[:count])))

    num_lines = max(range(len(fullest), 0, -1), key=lambda count: count * len(common(count)))
    shares = common(num_lines)
    return Series(
        label=label,
        x=[float(share) for share in shares],
        y=[[line[share] for share in shares] for line in fullest[:num_lines]],
        group=group,
        dashed=dashed,
    )
