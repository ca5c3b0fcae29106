"""Graphs: which points are shown, legends, order, colours, axes."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.graph import AxisSettings, Graph, GraphRequest, draw
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.times import MINUTE
from tocsin.model.asl.words import TOCSIN

END = 1_795_176_000_000


@pytest.fixture(scope="module")
def source() -> MemorySource:
    """Two devices, an hour of minutes: tv falls, web rises."""
    made = MemorySource()
    for i in range(61):
        made.put({"name": "a", "device": "tv"}, END - i * MINUTE, float(i))
        made.put({"name": "a", "device": "web"}, END - i * MINUTE, float(60 - i) / 2)
    return made


def graph(q: str, source: MemorySource, **more: object) -> Graph:
    """Draw an expression over the last five minutes."""
    request = GraphRequest(q=q, start="e-5m", end=str(END), **more)  # type: ignore[arg-type]
    return draw(request, Interpreter(TOCSIN), source, END)


def test_range_excludes_its_start(source: MemorySource) -> None:
    """Five minutes are five points, the last at the end."""
    made = graph("name,a,:eq,:max", source)
    assert (made.grid.first_ms, made.grid.end_ms) == (END - 4 * MINUTE, END)
    assert len(made.lines[0].values) == 5


def test_words_that_look_back_see_one_point_before(source: MemorySource) -> None:
    """The derivative has a value at the first point shown."""
    (line,) = graph("name,a,:eq,device,tv,:eq,:and,:sum,:derivative", source).lines
    np.testing.assert_allclose(line.values, [-1] * 5)


@pytest.mark.parametrize(
    ("q", "legends"),
    [
        ("name,a,:eq,(,device,),:by", ["tv", "web"]),
        ("name,a,:eq,:sum", ["a"]),
        ("name,a,:eq,:sum,:dup,1w,:offset", ["a", "a (offset=1w)"]),
        ("name,a,:eq,device,tv,:eq,:and,:sum,name,a,:eq,device,web,:eq,:and,:sum", ["tv", "web"]),
        ("name,a,:eq,device,tv,:eq,:not,:and,:sum", ["a"]),
        ("name,a,:eq,:sum,10m,:offset,$name at $(atlas.offset),:legend", ["a at 10m"]),
        ("name,a,:eq,(,device,),:by,$device,:legend,^t(.*)$,T-$1,:s", ["T-v", "web"]),
        ("42", ["42.0"]),
        ("name,a,:eq,:sum,name,b,:eq,:sum,:add", ["name=a"]),
        (":true,:sum", ["sum(true)"]),
        ("device,(tv|web),:re,:sum", ["(tv|web)"]),
        ("name,a,:starts,:sum", ["a"]),
    ],
)
def test_legends(source: MemorySource, q: str, legends: list[str]) -> None:
    """A legend says what tells the lines apart, or what was asked for."""
    assert [line.label for line in graph(q, source).lines] == legends


@pytest.mark.parametrize(
    ("suffix", "order"),
    [
        ("", ["tv", "web"]),
        (",desc,:order", ["web", "tv"]),
        (",max,:sort", ["tv", "web"]),
        (",max,:sort,desc,:order", ["web", "tv"]),
        (",max,:sort,desc,:order,1,:limit", ["web"]),
    ],
)
def test_order_and_limit(source: MemorySource, suffix: str, order: list[str]) -> None:
    """Lines are sorted by legend or by a statistic, and cut after that."""
    assert [line.label for line in graph(f"name,a,:eq,(,device,),:by{suffix}", source).lines] == order


def test_sorting_does_not_change_colours(source: MemorySource) -> None:
    """A line keeps its colour however lines are sorted."""
    plain = {line.label: line.colour for line in graph("name,a,:eq,(,device,),:by", source).lines}
    other = {line.label: line.colour for line in graph("name,a,:eq,(,device,),:by,max,:sort,desc,:order", source).lines}
    assert plain == other
    assert len(set(plain.values())) == 2


def test_unknown_sort_is_noted(source: MemorySource) -> None:
    """A sort that does not exist is remarked on and the default taken."""
    made = graph("name,a,:eq,(,device,),:by,size,:sort", source)
    assert made.notices == ("Invalid sort mode 'size'. Using default of 'legend'.",)


def test_axes(source: MemorySource) -> None:
    """Lines go to the axis that they name; one past the last is refused."""
    made = graph("name,a,:eq,:sum,1,:axis,name,a,:eq,:max", source, axes={1: AxisSettings(stack=True)})
    assert [(plot.axis, plot.lines[0].line_style) for plot in made.plots] == [(0, "line"), (1, "stack")]
    with pytest.raises(AslError, match="invalid axis: 5"):
        graph("name,a,:eq,:sum,5,:axis", source)


def test_older_list_of_offsets_makes_one_expression_each(source: MemorySource) -> None:
    """`(,0h,1d,),:offset` draws the expression once for each shift."""
    made = graph("name,a,:eq,:sum,(,0h,10m,),:offset", source)
    assert [line.label for line in made.lines] == ["a", "a (offset=10m)"]


def test_what_is_no_expression_is_named(source: MemorySource) -> None:
    """A text left on the stack is an error that shows it."""
    with pytest.raises(AslError, match="found String 'device'"):
        graph("name,a,:eq,device", source)


@pytest.mark.parametrize(
    "q", ["name,a,:eq,:sum,red,:color", "name,a,:eq,:sum,reds1,:palette", "name,a,:eq,:sum,dots,:ls"]
)
def test_bad_looks_are_refused(source: MemorySource, q: str) -> None:
    """A colour, palette or line style that does not exist is an error of the caller."""
    with pytest.raises(AslError):
        graph(q, source)
