"""Reading metrics, and thinning them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_kit import claim, epoch, submit

from fmx_store import claims
from fmx_store.database import Database
from fmx_store.metrics import read_metrics, thin


@given(st.integers(0, 3000), st.integers(1, 3200))
def test_thinning_keeps_both_ends_and_even_steps(num_rows: int, max_points: int) -> None:
    rows = list(range(num_rows))
    kept = thin(rows, max_points)
    assert len(kept) == min(num_rows, max_points)
    assert kept == sorted(set(kept))
    if kept:
        assert kept[-1] == rows[-1]
    if len(kept) > 1:
        assert kept[0] == rows[0]
        steps = {after - before for before, after in itertools.pairwise(kept)}
        assert max(steps) - min(steps) <= 1


def test_metrics_come_back_in_order_and_thinned(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    sent = [epoch(n, val_loss=1.0 / n, val_accuracy=n / 40) for n in range(1, 31)]
    claims.record_progress(db, lease, sent[15:])
    claims.record_progress(db, lease, sent[:15])
    assert read_metrics(db, lease.run_id) == sent
    assert read_metrics(db, lease.run_id, 30) == sent
    assert [m.epoch for m in read_metrics(db, lease.run_id, 4)] == [1, 11, 20, 30]
    assert read_metrics(db, lease.run_id, 1) == sent[-1:]


def test_figures_keep_every_digit(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    sent = epoch(1, train_loss=0.1 + 0.2, val_loss=5e-324, val_accuracy=1 / 3, seconds=1e-9)
    claims.record_progress(db, lease, [sent])
    assert read_metrics(db, lease.run_id) == [sent]


@pytest.mark.parametrize("max_points", [None, 1, 5])
def test_a_run_without_metrics_has_none(db: Database, max_points: int | None) -> None:
    submit(db)
    assert read_metrics(db, claim(db).run.id, max_points) == []
