"""Laws of the stack language over drawn inputs."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.asl.buckets import BOUNDS, COUNT, index_of
from tocsin.model.asl.query_expr import ALL, NONE, And, Equal, HasKey, In, Less, Not, Or, Query, Regex
from tocsin.model.asl.query_forms import canonical, clauses, conjunctions, simplify
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.stateful_expr import rolling_mean, rolling_sum, window
from tocsin.model.asl.text import escape, java_fixed, tokenize, unescape
from tocsin.model.asl.words import TOCSIN

KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["x", "y", "z"])
LEAVES: st.SearchStrategy[Query] = st.one_of(
    st.builds(Equal, KEYS, VALUES),
    st.builds(Less, KEYS, VALUES),
    st.builds(HasKey, KEYS),
    st.builds(Regex, KEYS, st.sampled_from(["x", "(x|y)", ".*z"])),
    st.builds(In, KEYS, st.lists(VALUES, min_size=1, max_size=3).map(tuple)),
    st.sampled_from([ALL, NONE]),
)
QUERIES: st.SearchStrategy[Query] = st.recursive(
    LEAVES, lambda q: st.one_of(st.builds(And, q, q), st.builds(Or, q, q), st.builds(Not, q)), max_leaves=6
)
TAGS = st.dictionaries(KEYS, VALUES)
NUMBERS = st.one_of(st.just(math.nan), st.integers(-5, 5).map(float))
ROWS = st.lists(NUMBERS, min_size=1, max_size=30).map(lambda v: np.array([v]))


@given(QUERIES, TAGS)
def test_forms_of_a_query_take_the_same_series(query: Query, tags: dict[str, str]) -> None:
    """Simplified, canonical and normal forms match exactly what the query matches."""
    expected = query.matches(tags)
    assert simplify(query).matches(tags) == expected
    assert canonical(query).matches(tags) == expected
    assert any(part.matches(tags) for part in conjunctions(query)) == expected
    assert all(part.matches(tags) for part in clauses(query)) == expected


@given(QUERIES)
def test_query_reads_back(query: Query) -> None:
    """The program of a query gives the query again, up to constants and lists of one, which the words fold."""
    (again,) = Interpreter(TOCSIN).run(str(query))
    assert isinstance(again, Query)
    assert canonical(again) == canonical(query)


@given(st.text(max_size=40).filter(lambda t: t.strip() != "" and "*/" not in t))
def test_any_text_is_one_token_when_escaped(text: str) -> None:
    """Escaping and reading back is the identity."""
    assert [unescape(t) for t in tokenize(escape(text))] == [text]


@given(ROWS, st.integers(1, 12))
def test_windows_equal_a_plain_loop(values: np.ndarray, n: int) -> None:
    """Windows made of halves give what a loop over the last n values gives."""
    row = values[0]
    parts = [row[max(0, i - n + 1) : i + 1] for i in range(len(row))]
    known = [p[~np.isnan(p)] for p in parts]
    expected_max = [k.max() if len(k) else math.nan for k in known]
    expected_sum = [k.sum() if len(k) else math.nan for k in known]
    expected_mean = [k.mean() if len(k) >= 2 else math.nan for k in known]
    np.testing.assert_allclose(window(values, n, np.fmax, math.nan)[0], expected_max)
    np.testing.assert_allclose(rolling_sum(values, n)[0], expected_sum, atol=1e-12)
    np.testing.assert_allclose(rolling_mean(values, n, 2)[0], expected_mean, atol=1e-12)


@given(st.integers(0, 2**63 - 1))
def test_bucket_holds_its_value(value: int) -> None:
    """A value lies below the bound of its bucket, and not below the bound before; just below a power of four it goes
    one bucket further, as Spectator has it."""
    index = index_of(value)
    assert 0 <= index < COUNT
    assert value < BOUNDS[index] or index == COUNT - 1
    assert index < 2 or value >= BOUNDS[index - 2]
    assert index == 0 or value >= BOUNDS[index - 1] or BOUNDS[index - 1].bit_count() == 1


@given(st.floats(-1e6, 1e6))
def test_fixed_decimals_are_within_half_a_unit(value: float) -> None:
    """Six decimals of a number are at most half of the last place away from it."""
    assert abs(float(java_fixed(value, 6)) - value) <= 0.5e-6 + 1e-9
