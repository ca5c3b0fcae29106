"""Words of the metric catalogue: `cdn,b,:eq,:rebuffer-ratio,(,device,),:by`, made from its entries.

A ratio is taken from its parts when it is asked for, so every definition stays selectable: the word takes a query, or a
query and the name of a definition (`cdn,b,:eq,cirr,:rebuffer-ratio`). Parts are series named `qoe.<part>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tocsin.model.asl.math_expr import RATIO, BinaryMath, SetTag, UnaryMath
from tocsin.model.asl.math_leaves import Constant
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import Equal, In, Query
from tocsin.model.asl.series_expr import AggregateExpr, SeriesExpr
from tocsin.model.asl.vocabulary import QUERY, STRING, Param, Value, Word
from tocsin.model.catalogue import PREFIX, Combination, Definition, Metric

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

GROUP = "catalogue"
_Q = Param("q", QUERY)
_DEFINITION = Param("definition", STRING)


def part_name(part: str) -> str:
    """The name of the series that holds a stored part: `qoe.rebuffer_ms`."""
    return PREFIX + part


def _sum_of(query: Query, parts: Sequence[str]) -> SeriesExpr:
    names = tuple(part_name(p) for p in parts)
    which: Query = Equal("name", names[0]) if len(names) == 1 else In("name", names)
    return AggregateExpr(query.and_(which), "sum")


def combination(query: Query, parts: Combination) -> SeriesExpr:
    """Σ factor × part over the series that a query takes; parts of one factor are read as one sum."""
    by_factor: dict[float, list[str]] = {}
    for part, factor in parts.items():
        by_factor.setdefault(float(factor), []).append(part)
    total: SeriesExpr | None = None
    for factor in sorted(by_factor, reverse=True):
        term = _scaled(_sum_of(query, by_factor[factor]), abs(factor))
        if total is None:
            total = term if factor > 0 else UnaryMath(term, "neg")
        else:
            total = BinaryMath(total, term, "add" if factor > 0 else "sub")
    if total is None:
        raise ValueError("a combination must have at least one part")
    return total


def _scaled(series: SeriesExpr, factor: float) -> SeriesExpr:
    return series if factor == 1 else BinaryMath(series, Constant(factor), "mul")


def ratio(query: Query, definition: Definition) -> SeriesExpr:
    """A ratio by one of its definitions; no value where the denominator is 0."""
    bottom = combination(query, definition.denominator)
    quotient: SeriesExpr = BinaryMath(combination(query, definition.numerator), bottom, RATIO)
    if definition.form == "sd":
        mean: SeriesExpr = BinaryMath(combination(query, definition.mean), bottom, RATIO)
        variance = BinaryMath(quotient, BinaryMath(mean, mean, "fmul"), "fsub")
        quotient = UnaryMath(variance, "sqrt")
    return _scaled(quotient, definition.scale)


def formula(definition: Definition) -> str:
    """A definition for a person: `1000 × (bits_kb) / (media_ms)`; without a denominator it is a rate by the second."""
    text = f"({_terms(definition.numerator)}) / ({_terms(definition.denominator) or 's'})"
    if definition.form == "sd":
        text = f"√({text} − (({_terms(definition.mean)}) / ({_terms(definition.denominator)}))²)"
    return text if definition.scale == 1 else f"{definition.scale:g} × {text}"


def _terms(parts: Combination) -> str:
    text = ""
    for part, factor in parts.items():
        size = "" if abs(factor) == 1 else f"{abs(factor):g}·"
        sign = (" − " if factor < 0 else " + ") if text else ("−" if factor < 0 else "")
        text += f"{sign}{size}{part}"
    return text


def _documentation(metric: Metric) -> str:
    parts = [f"{metric.doc[:1].upper()}{metric.doc[1:]} [{metric.unit}]."]
    for i, (name, definition) in enumerate(metric.definitions.items()):
        default = " (default)" if i == 0 and len(metric.definitions) > 1 else ""
        note = f", {definition.doc}" if definition.doc else ""
        parts.append(f"{name}{default}: {formula(definition)}{note}.")
    return " ".join(parts)


def metric_words(metric: Metric) -> tuple[Word, ...]:
    """The entries of one metric: with a definition, and with the default one."""
    default = next(iter(metric.definitions))

    def push(machine: Machine, query: Query, name: str, parameters: tuple[object, ...]) -> None:
        full = SetTag(ratio(query, metric.definitions[name]), "name", metric.name)
        machine.stack.append(NamedRewrite(metric.word, query, parameters, full, machine.interpreter))

    def by_default(machine: Machine, values: Sequence[Any]) -> None:
        push(machine, values[0], default, ())

    def by_name(machine: Machine, values: Sequence[Any]) -> None:
        push(machine, values[0], values[1], (values[1],))

    def names_definition(stack: Sequence[Value]) -> bool:
        return isinstance(stack[-1], str) and stack[-1] in metric.definitions

    doc = _documentation(metric)
    return (
        Word(
            metric.word, GROUP, (_Q, _DEFINITION), "TimeSeriesExpr", doc, by_name,
            tuple(f"cdn,b,:eq,{name}" for name in metric.definitions), fits=names_definition,
        ),
        Word(metric.word, GROUP, (_Q,), "TimeSeriesExpr", doc, by_default, ("cdn,b,:eq", ":true")),
    )  # fmt: skip


def catalogue_words(metrics: Mapping[str, Metric] | Iterable[Metric]) -> tuple[Word, ...]:
    """The words of all metrics that have one and are defined by ratios."""
    entries = metrics.values() if isinstance(metrics, Mapping) else metrics
    return tuple(word for m in entries if m.word and m.definitions for word in metric_words(m))
