"""Evaluation: what values words give, over a small source with gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tocsin.model.asl import buckets
from tocsin.model.asl.errors import AslError, AslLimitError
from tocsin.model.asl.evaluate import evaluate
from tocsin.model.asl.lines import Lines
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.series_expr import EvalContext, SeriesExpr
from tocsin.model.asl.source import Limits
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.times import MINUTE
from tocsin.model.asl.vocabulary import SERIES
from tocsin.model.asl.words import TOCSIN

START = 1_795_176_000_000
NAN = math.nan


def source(**series: list[float]) -> MemorySource:
    """Series named a_tv, a_web, … : the letter is the name, the rest the device; a gauge where it ends in _g."""
    made = MemorySource()
    for key, values in series.items():
        name, device, *kind = key.split("_")
        tags = {"name": name, "device": device}
        if kind:
            tags["atlas.dstype"] = "gauge"
        for i, value in enumerate(values):
            if not math.isnan(value):
                made.put(tags, START + i * MINUTE, value)
    return made


def run(program: str, data: MemorySource, points: int = 5, step: int = MINUTE, limits: Limits | None = None) -> Lines:
    """Evaluate one expression from START on."""
    (value,) = Interpreter(TOCSIN).run(program)
    series = SERIES(value)
    assert isinstance(series, SeriesExpr)
    context = EvalContext(START, START + points * step, step, START)
    return evaluate([series], context, data, limits)[0]


def values(program: str, data: MemorySource, points: int = 5, step: int = MINUTE) -> list[list[float]]:
    """The values of an expression, rounded for comparison."""
    return np.round(run(program, data, points, step).values, 9).tolist()


A = source(a_tv=[1, 2, NAN, 4, 0], a_web=[10, NAN, NAN, 40, 0])


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("name,a,:eq,:sum", [11, 2, NAN, 44, 0]),
        ("name,a,:eq,:count", [2, 1, NAN, 2, 2]),
        ("name,a,:eq,:min", [1, 2, NAN, 4, 0]),
        ("name,a,:eq,:max", [10, 2, NAN, 40, 0]),
        ("name,a,:eq,:avg", [5.5, 2, NAN, 22, 0]),
        ("name,a,:eq,:sum,0,:div", [NAN, NAN, NAN, NAN, 0]),
        ("name,a,:eq,:sum,0,:fdiv", [math.inf, math.inf, NAN, math.inf, NAN]),
        ("name,a,:eq,:sum,1,:add", [12, 3, 1, 45, 1]),
        ("name,a,:eq,:sum,1,:fadd", [12, 3, NAN, 45, 1]),
        ("1,name,a,:eq,:sum,:sub", [-10, -1, 1, -43, 1]),
        ("name,a,:eq,:sum,2,:gt", [1, 0, 0, 1, 0]),
        ("name,a,:eq,:sum,2,:le", [0, 1, 0, 0, 1]),
        ("name,a,:eq,:sum,1,:and", [1, 1, 0, 1, 0]),
        ("name,a,:eq,:sum,0,:or", [1, 1, 0, 1, 0]),
        ("name,a,:eq,:sum,:per-step", [660, 120, NAN, 2640, 0]),
        ("name,a,:eq,:sum,5,:clamp-max", [5, 2, NAN, 5, 0]),
        ("name,a,:eq,:sum,:integral", [11, 13, 13, 57, 57]),
        ("name,a,:eq,:sum,:derivative", [NAN, -9, NAN, NAN, -44]),
        ("name,a,:eq,:sum,:cumulative-max", [11, 11, 11, 44, 44]),
        ("name,a,:eq,:sum,2,:rolling-sum", [11, 13, 2, 44, 44]),
        ("name,a,:eq,:sum,2,:rolling-min", [11, 2, 2, 44, 0]),
        ("name,a,:eq,:sum,3,2,:rolling-mean", [NAN, 6.5, 6.5, 23, 22]),
        ("name,a,:eq,:sum,2,:rolling-count", [1, 2, 1, 1, 1]),
        ("name,a,:eq,:sum,2,:delay", [NAN, NAN, 11, 2, NAN]),
        ("name,a,:eq,:sum,2m,:trend", [NAN, 6.5, 1, 22, 22]),
        ("name,a,:eq,:sum,max,:stat", [44, 44, 44, 44, 44]),
        ("name,a,:eq,:sum,last,:stat", [0, 0, 0, 0, 0]),
        ("name,a,:eq,:sum,count,:stat", [4, 4, 4, 4, 4]),
        ("2,3,:pow", [8, 8, 8, 8, 8]),
        ("name,none,:eq,:sum", [NAN, NAN, NAN, NAN, NAN]),
    ],
)
def test_one_line(program: str, expected: list[float]) -> None:
    """Words give the values that their documentation says, gaps included."""
    np.testing.assert_allclose(values(program, A), [expected], equal_nan=True)


def test_groups_are_sorted_and_named() -> None:
    """One line for each value of the key, with that key and those that the query fixes."""
    lines = run("name,a,:eq,:sum,(,device,),:by", A)
    assert [h.tags for h in lines.heads] == [{"name": "a", "device": "tv"}, {"name": "a", "device": "web"}]
    assert [h.text for h in lines.heads] == ["(device=tv)", "(device=web)"]


def test_grouped_math_is_an_inner_join() -> None:
    """Only groups that both sides have are left; a line that is not grouped goes with every group."""
    data = source(a_tv=[8], a_web=[6], b_tv=[2], b_pc=[1])
    joined = run("name,a,:eq,:sum,(,device,),:by,name,b,:eq,:sum,(,device,),:by,:div", data, 1)
    assert [(h.tags["device"], v) for h, v in zip(joined.heads, joined.values[:, 0], strict=True)] == [("tv", 4.0)]
    shares = values("name,a,:eq,:sum,(,device,),:by,name,a,:eq,:sum,:div", data, 1)
    np.testing.assert_allclose(shares, [[8 / 14], [6 / 14]])


def test_groupings_that_do_not_nest_are_refused() -> None:
    """Two sides grouped by different keys cannot be joined."""
    with pytest.raises(AslError, match="same grouping"):
        run("name,a,:eq,(,device,),:by,name,a,:eq,(,name,),:by,:add", A)


@pytest.mark.parametrize(
    ("cf", "rate", "gauge"),
    [
        ("", [7 / 3, 8 / 3], [7 / 2, 4]),
        (",:cf-sum", [7, 8], [7, 8]),
        (",:cf-max", [6, 5], [6, 5]),
        (",:cf-min", [1, 3], [1, 3]),
    ],
)
def test_consolidation(cf: str, rate: list[float], gauge: list[float]) -> None:
    """A longer step averages a rate over the whole step and a gauge over the points that are there."""
    step = 3 * MINUTE
    for suffix, expected in (("", rate), ("_g", gauge)):
        data = source(**{f"a_tv{suffix}": [NAN, 1, NAN, 6, 3, NAN, 5]})
        context = EvalContext(START + step, START + 3 * step, step, START)
        (value,) = Interpreter(TOCSIN).run(f"name,a,:eq,:sum{cf}")
        lines = evaluate([SERIES(value)], context, data)[0]
        np.testing.assert_allclose(lines.values, [expected])


def test_offset_shows_earlier_data_at_this_time() -> None:
    """Data of an earlier time on this grid; an offset between two steps looks one point further back."""
    data = source(a_tv=[1, 2, 3, 4, 5])
    np.testing.assert_allclose(values("name,a,:eq,:sum,2m,:offset", data), [[NAN, NAN, 1, 2, 3]])
    np.testing.assert_allclose(values("name,a,:eq,:sum,90s,:offset", data), [[NAN, NAN, 1, 2, 3]])


def test_filter_keeps_lines_for_which_the_condition_holds_once() -> None:
    """A filter looks at statistics of the filtered lines, and says how many matched."""
    lines = run("name,a,:eq,:sum,(,device,),:by,:stat-max,30,:gt,:filter", A)
    assert [h.tags["device"] for h in lines.heads] == ["web"]
    assert lines.messages == ("1 of 2 lines matched filter",)


def test_topk_with_others() -> None:
    """The largest lines, and one for the sum of those left out."""
    data = source(a_tv=[1], a_web=[5], a_pc=[3])
    lines = run("name,a,:eq,:sum,(,device,),:by,max,1,:topk-others-sum", data, 1)
    assert [h.tags["device"] for h in lines.heads] == ["--others--", "web"]
    np.testing.assert_allclose(lines.values, [[4], [5]])


def test_a_percentile_at_a_bucket_s_bound_stays_there() -> None:
    """Half of the counts lie in the lower bucket: the median is its bound, however the rates' sum is rounded."""
    used = np.array([100, 140])
    counts = np.array([[k / 60 + k / 180 for k in range(1, 400)]] * 2)
    bound = float(buckets.BOUNDS[100])
    assert buckets.percentiles(used, counts / 3 * 0.7, np.array([50.0]))[0] == pytest.approx(bound, rel=1e-6)


def test_percentiles_from_bucket_counts() -> None:
    """A percentile is read from the sum of counts by bucket; timers come in seconds; nothing counted is no value."""
    data = MemorySource()
    for bucket, count in (("T0050", 1.0), ("T0060", 3.0)):
        data.put({"name": "t", "percentile": bucket, "statistic": "percentile"}, START, count)
    lines = run("name,t,:eq,(,25,100,),:percentiles", data, 2)
    assert [h.tags["percentile"] for h in lines.heads] == [" 25.0", "100.0"]
    assert np.isnan(lines.values[:, 1]).all()
    assert 0 < lines.values[0, 0] < lines.values[1, 0]


def test_des_predicts_after_training() -> None:
    """No prediction until the training window was seen; a constant line is predicted exactly; a gap changes nothing."""
    data = source(a_tv=[7, 7, NAN, 7, 7])
    np.testing.assert_allclose(values("name,a,:eq,:sum,2,0.1,0.5,:des", data), [[NAN, NAN, 7, 7, 7]])


def test_sliding_des_depends_on_time_not_on_the_start() -> None:
    """Two ranges that start at different times predict the same for the same time."""
    data = source(a_tv=[float(i % 7) for i in range(60)])
    (value,) = Interpreter(TOCSIN).run("name,a,:eq,:sum,5,0.1,0.5,:sdes")
    ends = START + 60 * MINUTE
    long, short = (
        evaluate([SERIES(value)], EvalContext(START + s * MINUTE, ends, MINUTE, START), data)[0].values[0, -20:]
        for s in (0, 10)
    )
    np.testing.assert_allclose(long, short)


def test_limits_say_what_would_fit() -> None:
    """Too many lines or points are refused with the limit."""
    with pytest.raises(AslLimitError, match=r"too many lines: 2 > 1"):
        run("name,a,:eq,(,device,),:by", A, limits=Limits(lines=1))
    with pytest.raises(AslLimitError, match=r"2 lines of 5 points are 10 > 8; step=2m fits, and so does w=2 for"):
        run("name,a,:eq,(,device,),:by", A, limits=Limits(datapoints=8))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("name,a,:eq,:sum,0,:rolling-max", "from 1 to 86400"),
        ("name,a,:eq,:sum,2,3,:rolling-mean", "from 1 to the window"),
        ("name,a,:eq,:sum,nope,:stat", "unknown statistic"),
        ("name,a,:eq,(,device,),:by,max,0,:topk", "must be positive"),
        ("name,a,:eq,(,101,),:percentiles", "from 0 to 100"),
        ("hourofday,:time", "did you mean 'hourOfDay'"),
        ("name,a,:eq,(,device,),:by,(,cdn,),:by", "has lost cdn"),
        ("name,a,:eq,:sum,name,a,:eq,(,device,),:by,:filter", "must match"),
    ],
)
def test_bad_parameters_are_refused(program: str, message: str) -> None:
    """A parameter that makes no sense is refused with its value and what would do."""
    with pytest.raises(AslError, match=message):
        run(program, A)


def test_noise_is_the_same_for_the_same_time() -> None:
    """Noise depends on the time and the seed only and lies from 0 to 1."""
    first, again, other = (run(p, A, 50).values for p in (":random", ":random", "7,:srandom"))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert ((first >= 0) & (first < 1)).all()


def test_time_span_is_one_inside() -> None:
    """Both ends belong to the span, and may refer to the graph's."""
    np.testing.assert_allclose(values("gs,s+1m,:time-span", A), [[1, 1, 0, 0, 0]])
