"""The tree of an expression: every node is a frozen value that can print itself and be rewritten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, runtime_checkable

from tocsin.model.asl.text import escape, java_double
from tocsin.model.asl.times import iso_duration


@dataclasses.dataclass(frozen=True, slots=True)
class DurationMs:
    """A duration in a tree, in milliseconds; prints as ISO 8601."""

    ms: int

    def __str__(self) -> str:
        return iso_duration(self.ms)


Rewrite = Callable[["Expr"], "Expr | None"]
E_ = TypeVar("E_", bound="Expr")


@dataclasses.dataclass(frozen=True)
class Expr:
    """A node. `str(node)` is a program that makes the node again."""

    def __str__(self) -> str:
        raise NotImplementedError

    def rewrite(self, change: Rewrite) -> Expr:
        """The tree with `change(node)` put in wherever that is not None, outermost first; not searched again."""
        new = change(self)
        if new is not None:
            return new
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Expr):
                rewritten = value.rewrite(change)
                if rewritten is not value:
                    changes[field.name] = rewritten
        return dataclasses.replace(self, **changes) if changes else self


def rewritten(expr: E_, change: Rewrite, kind: type[E_]) -> E_:
    """`expr.rewrite(change)` where the result must stay of one kind."""
    result = expr.rewrite(change)
    if not isinstance(result, kind):
        raise TypeError(f"rewriting '{expr}' gave a {type(result).__name__}, wanted {kind.__name__}")
    return result


@runtime_checkable
class Executor(Protocol):
    """What can run a program; how a macro that shows itself under its own name is made again after a rewrite."""

    def run_to_stack(self, program: str) -> list[object]:
        """Run a program and give its stack, bottom first."""
        ...


def words(*items: object) -> str:
    """Join values into a program: texts are escaped, lists become `(,a,b,)`; a Word prints as it is."""
    return ",".join(show(item) for item in items)


class Word(str):
    """A text that is already program and is not escaped again."""

    __slots__ = ()


def show(item: object) -> str:
    """One value as program text."""
    if isinstance(item, Word):
        return str(item)
    if isinstance(item, str):
        return escape(item)
    if isinstance(item, float):
        return java_double(item)
    if isinstance(item, list | tuple):
        return show_list(item)
    return str(item)


def show_list(items: Iterable[object]) -> str:
    """`(,a,b,)`"""
    return "(" + "".join(f",{show(item)}" for item in items) + ",)"
