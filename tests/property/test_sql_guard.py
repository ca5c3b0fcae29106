"""The guard of analysts' SQL over any text: it answers or refuses, and what is text stays text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.sql_guard import checked
from query.sql_words import FUNCTIONS, KEYWORDS, TYPES
from tocsin.model.errors import InputError
from tocsin.model.tables import TABLES

SIGNS = r"""
( ) [ ] { } , . : :: + - * / % = < > <> ' " ` ; -- /* */ -> ? @ @@ $ $$ # \ 1 2.5 'a' 0x1 x'ff' {a:Int64}
"""
OTHERS = "select into outfile settings format file url system.users apply columns pivot struct set show explain"
WORDS = st.sampled_from(
    [*SIGNS.split(), *OTHERS.split(), *sorted(KEYWORDS), *sorted(TYPES), *FUNCTIONS, *(t.name for t in TABLES)]
)


@given(st.lists(WORDS, max_size=20))
def test_words_in_any_order_are_answered_or_refused(words: list[str]) -> None:
    """No text is too odd: the only error is the caller's."""
    with suppress(InputError):
        checked(f"SELECT {' '.join(words)}", ["a"] if "{a:Int64}" in words else [])


@pytest.mark.parametrize("sql", ["SELECT map ( preceding in toDate", "SELECT xor ( global desc 0x1"])
def test_what_the_parser_trips_over_is_refused(sql: str) -> None:
    """Texts on which it fails by itself."""
    with pytest.raises(InputError, match="reading the query"):
        checked(sql, [])


@given(st.lists(WORDS, max_size=12))
def test_what_is_written_passes_again(words: list[str]) -> None:
    """The text for the store is itself one that may run."""
    try:
        written = checked(f"SELECT {' '.join(words)} FROM sessions", [])
    except InputError:
        return
    assert checked(written, []).startswith("SELECT")


@given(text=st.text(max_size=30))
def test_a_text_stays_a_text(text: str) -> None:
    """Whatever stands between quotes comes out between quotes: nothing of it becomes a word."""
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    try:
        written = checked(f"SELECT '{quoted}' AS x", [])
    except InputError:
        return
    inside = written.removeprefix("SELECT '").removesuffix('\' AS "x"')
    assert len(inside) < len(written) - 12
    assert "'" not in inside.replace("\\\\", "").replace("\\'", "").replace("''", "")


def test_what_was_asked_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A statement may hold anything, so it is nobody's to read in a log."""
    with pytest.raises(InputError):
        checked("SHOW canary", [])
    assert "canary" not in caplog.text
