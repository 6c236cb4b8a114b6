"""Text for the databases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmx_store.texts import is_storable, storable


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert storable(text) == text
    assert is_storable(text)


@given(st.text(st.characters()))
def test_any_text_becomes_storable(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    assert len(kept) == len(text)
    assert storable(kept) == kept


@pytest.mark.parametrize("text", ["\0", "a\udcff", "\ud800"])
def test_what_can_not_be_kept_is_told(text: str) -> None:
    assert not is_storable(text)
