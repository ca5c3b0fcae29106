"""Words that look back along a line: windows, smoothing, running totals."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.model.asl.expr import DurationMs
from tocsin.model.asl.series_expr import SeriesExpr
from tocsin.model.asl.stateful_expr import RollingMean, Running, Smoothing, Trend, Windowed
from tocsin.model.asl.vocabulary import DOUBLE, DURATION, INT, SERIES, Param, Word, macro, pure

GROUP = "stateful"
_T = Param("", SERIES)
_N = Param("n", INT)
_EXAMPLE = "name,qoe.sps,:eq,:sum"


def _word(name: str, params: tuple[Param, ...], make: Callable[..., SeriesExpr], doc: str, *examples: str) -> Word:
    return Word(name, GROUP, (_T, *params), "TimeSeriesExpr", doc, pure(make), examples, keeps_style=True)


def _windowed(name: str, doc: str) -> Word:
    return _word(name, (_N,), lambda t, n: Windowed(t, n, name), doc, f"{_EXAMPLE},5")


def _running(name: str, doc: str) -> Word:
    return _word(name, (), lambda t: Running(t, name), doc, _EXAMPLE, "1")


def _smoothing(name: str, doc: str) -> Word:
    params = (Param("training", INT), Param("alpha", DOUBLE), Param("beta", DOUBLE))
    return _word(name, params, lambda t, n, a, b: Smoothing(t, n, a, b, name), doc, f"{_EXAMPLE},10,0.1,0.5")


def _preset(kind: str, name: str, settings: str) -> Word:
    body = f":dup,{settings},:{kind},{kind}-{name},:named-rewrite"
    doc = f"`:{kind}` with a training window of 10 datapoints and the smoothing factors of {settings[3:]}."
    return macro(f"{kind}-{name}", GROUP, body, (_T,), "TimeSeriesExpr", doc, _EXAMPLE, "42")


_PRESETS = {"simple": "10,0.1,0.5", "fast": "10,0.1,0.02", "slower": "10,0.05,0.03", "slow": "10,0.03,0.04"}

# Bounds around a smoothed prediction, by an absolute noise and by percentages; the signal is 1 where the line leaves
# both. The variables are read again by :des-epic-viz, so their names are part of the language.
EPIC_SIGNAL = (
    "noise,:sset,minPercent,:sset,maxPercent,:sset,beta,:sset,alpha,:sset,trainingSize,:sset,line,:sset,"
    "pred,line,:get,trainingSize,:get,alpha,:get,beta,:get,:des,:set,"
    "minPredNoiseBound,pred,:get,noise,:get,:sub,:set,"
    "minPredPercentBound,pred,:get,1.0,:const,minPercent,:get,:const,:fsub,:fmul,:set,"
    "maxPredNoiseBound,pred,:get,noise,:get,:add,:set,"
    "maxPredPercentBound,pred,:get,2.0,:const,1.0,:const,maxPercent,:get,:const,:fsub,:fsub,:fmul,:set,"
    "line,:get,minPredNoiseBound,:get,:lt,line,:get,minPredPercentBound,:get,:lt,:and,"
    "line,:get,maxPredNoiseBound,:get,:gt,line,:get,maxPredPercentBound,:get,:gt,:and,:or"
)
EPIC_PARAMS = (
    _T,
    Param("trainingSize", INT),
    Param("alpha", DOUBLE),
    Param("beta", DOUBLE),
    Param("maxPercent", DOUBLE),
    Param("minPercent", DOUBLE),
    Param("noise", DOUBLE),
)

WORDS = (
    _windowed("delay", "The value of n datapoints before."),
    _windowed("rolling-count", "How many of the last n datapoints are there and not 0."),
    _windowed("rolling-min", "Smallest of the last n datapoints that are there."),
    _windowed("rolling-max", "Largest of the last n datapoints that are there."),
    _windowed("rolling-sum", "Sum of the last n datapoints that are there."),
    _word(
        "rolling-mean",
        (_N, Param("minNumValues", INT)),
        RollingMean,
        "Mean of the last n datapoints, where at least a minimum number of them is there.",
        f"{_EXAMPLE},5,3",
    ),
    _smoothing("des", "What double exponential smoothing of the line so far predicts for this point."),
    _smoothing(
        "sdes", "Two smoothings that take turns, so that a prediction does not depend on where the graph starts."
    ),
    Word(
        "trend",
        GROUP,
        (_T, Param("window", DURATION)),
        "TimeSeriesExpr",
        "Mean over a time, missing values as 0, once the window is full.",
        pure(lambda t, ms: Trend(t, DurationMs(ms))),
        (f"{_EXAMPLE},20m", ":random,PT5M"),
        keeps_style=True,
        deprecated="use :rolling-mean",
    ),
    _running("integral", "Running sum from the start of the graph; a missing value counts as 0."),
    _running("cumulative-max", "Largest value from the start of the graph up to here."),
    _running("derivative", "Difference to the datapoint before."),
    macro(
        "approx-distinct-cumulative",
        GROUP,
        ":dup,:cumulative-max,:approx-distinct,approx-distinct-cumulative,:named-rewrite",
        (_T,),
        "TimeSeriesExpr",
        "Distinct values from the start of the graph up to here, estimated from a sketch.",
        "name,viewers,:eq",
    ),
    *(_preset(kind, name, settings) for kind in ("des", "sdes") for name, settings in _PRESETS.items()),
    macro(
        "des-epic-signal",
        GROUP,
        EPIC_SIGNAL,
        EPIC_PARAMS,
        "TimeSeriesExpr",
        "1 where a line leaves the bounds around its smoothed prediction.",
        f"{_EXAMPLE},10,0.1,0.5,0.2,0.2,4",
    ),
)
