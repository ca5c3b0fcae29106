"""Laws of a source of series (`tocsin.model.asl.source`), over the one in memory; the store's is asserted end to end
against drawn cells."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.query_expr import ALL, And, Equal, HasKey, Query
from tocsin.model.asl.source import Aggregate, FetchRequest, Limits, SeriesSource
from tocsin.model.asl.times import MINUTE

START = 1_795_176_000_000
NAME = Equal("name", "a")


@pytest.fixture
def source() -> SeriesSource:
    """Twelve minutes of three series; one has values in the second half only."""
    made = MemorySource()
    for i in range(12):
        made.put({"name": "a", "device": "web", "cdn": "x"}, START + i * MINUTE, float(i))
        made.put({"name": "a", "device": "tv", "cdn": "x"}, START + i * MINUTE, 10.0)
        if i >= 6:
            made.put({"name": "a", "cdn": "y"}, START + i * MINUTE, 1.0)
    return made


def request(query: Query = NAME, minutes: int = 6, step: int = 1, **more: object) -> FetchRequest:
    """The first minutes of the data."""
    end = START + (minutes - step) * MINUTE
    return FetchRequest(query, START, end, step * MINUTE, **more)  # type: ignore[arg-type]


def test_values_lie_on_the_grid_of_the_request(source: SeriesSource) -> None:
    """One value a point, both ends included."""
    asked = request()
    lines = source.fetch(asked).lines
    assert lines.values.shape == (1, asked.points) == (1, 6)
    np.testing.assert_allclose(lines.values[0], [10, 11, 12, 13, 14, 15])


def test_a_point_covers_the_step_before_it(source: SeriesSource) -> None:
    """With a step of two minutes the value at t is made of the minutes at t - 1 and t."""
    asked = FetchRequest(NAME, START + MINUTE, START + 3 * MINUTE, 2 * MINUTE)
    np.testing.assert_allclose(source.fetch(asked).lines.values[0], [10.5, 12.5])


def test_groups_are_sorted_and_those_without_values_left_out(source: SeriesSource) -> None:
    """Groups come by key; a group that has no value in the range, or lacks the key, is not there."""
    by_device = source.fetch(request(by=("device",))).lines
    assert [h.tags["device"] for h in by_device.heads] == ["tv", "web"]
    by_cdn = source.fetch(request(by=("cdn",))).lines
    assert [h.tags["cdn"] for h in by_cdn.heads] == ["x"]


def test_tags_are_those_fixed_and_grouped_by(source: SeriesSource) -> None:
    """A result has the keys that the query fixes by :eq and those of the grouping; :all keeps all tags."""
    asked = request(And(NAME, HasKey("device")), by=("device",))
    assert source.fetch(asked).lines.heads[0].tags == {"name": "a", "device": "tv"}
    everything = source.fetch(request(aggregate="all", cf="sum")).lines
    assert everything.heads[0].tags == {"name": "a", "device": "tv", "cdn": "x"}


@pytest.mark.parametrize("aggregate", ["sum", "count", "min", "max", "all"])
def test_nothing_matches_is_no_line(source: SeriesSource, aggregate: Aggregate) -> None:
    """A query that takes nothing gives no line and no error."""
    assert len(source.fetch(request(Equal("name", "b"), aggregate=aggregate)).lines) == 0


def test_equal_requests_have_equal_answers(source: SeriesSource) -> None:
    """Asking twice gives the same lines in the same order."""
    first, second = (source.fetch(request(ALL, by=("device", "cdn"))).lines for _ in range(2))
    assert first.heads == second.heads
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("limits", [Limits(lines=1), Limits(datapoints=11)])
def test_too_much_is_refused(source: SeriesSource, limits: Limits) -> None:
    """Past a limit the error says so and what would fit."""
    with pytest.raises(AslLimitError, match="too many"):
        source.fetch(request(by=("device",), limits=limits))
