"""Pixels that are read in bulk: the same as strictly read, or left to the strict parser."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.json_body import parse_json
from api.predict.pixels import unpack_pixels
from api.problems import ProblemError
from api.queries import PredictRequest

BLANK = [[0] * 28] * 28


def picture(**changed: Any) -> list[list[Any]]:
    rows: list[list[Any]] = [[0] * 28 for _ in range(28)]
    rows[3][5] = changed["pixel"]
    return rows


def test_pixels_come_out_as_they_were_sent() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    for indent in (None, 1):
        found = unpack_pixels(json.dumps({"images": images.tolist()}, indent=indent).encode(), 5)
        assert found is not None
        assert found.dtype == np.uint8
        assert np.array_equal(found, images)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        5,
        {"images": None},
        {"images": []},
        {"images": 28},
        {"images": [28] * 28},
        {"images": [[28] * 28]},
        {"images": [[[0] * 28] * 27]},
        {"images": [[[0] * 28] * 27 + [[0] * 27]]},
        {"images": [[[0] * 28] * 27 + [28]]},
        {"images": [BLANK] * 3},
        {"images": [BLANK], "more": 1},
        {"image": [BLANK]},
        {"test_rows": [0]},
        *({"images": [picture(pixel=p)]} for p in (-1, 256, 0.0, True, False, None, "0", [], {})),
        {"images": [picture(pixel=2**70)]},
        {"images": [[{}] * 28]},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_everything_else_is_left_to_the_strict_parser(value: Any) -> None:
    assert unpack_pixels(json.dumps(value).encode(), 2) is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"images"', b'{"images": [NaN]}', b'"\xff"', b'{"images": [1,]}']
)
def test_what_is_no_json_is_left_too(body: bytes) -> None:
    assert unpack_pixels(body, 2) is None


def test_a_name_given_twice_is_left_too() -> None:
    blank = json.dumps([BLANK]).encode()
    assert unpack_pixels(b'{"images": %b, "images": %b}' % (blank, blank), 2) is None


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 783),
    st.sampled_from([0, 255, 256, -1, 1.0, 0.5, 1e300, True, None, "1", [1], {"a": 1}, 2**64]),
)
def test_both_ways_agree(place: int, pixel: Any) -> None:
    """What is read in bulk, the strict way reads alike; what it refuses is never read in bulk."""
    flat: list[Any] = [n % 256 for n in range(784)]
    flat[place] = pixel
    rows = [flat[n : n + 28] for n in range(0, 784, 28)]
    body = json.dumps({"images": [rows]}).encode()
    found = unpack_pixels(body, 1)
    try:
        strict = PredictRequest.model_validate(parse_json(body, 32)).images
    except (ProblemError, ValueError):
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == strict
