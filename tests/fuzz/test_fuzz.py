"""A part of `make fuzz`: the server does as its OpenAPI document says, whatever it is sent."""

from fuzzing import find_errors, make_record, run_round, serving
from services import Column

SEED = 1
EXAMPLES = 5  # of each operation, beside its examples, its bounds and the walks


def test_the_document_and_the_server_agree(embedded_column: Column) -> None:
    known = make_record(embedded_column)
    with serving(embedded_column) as (url, lines):
        done = run_round(url, known, SEED, EXAMPLES, embedded_column.data_dir, brief=True)
        assert list(done.failures) == [], done.output
        assert done.num_cases > 500
        assert find_errors(lines) == []
