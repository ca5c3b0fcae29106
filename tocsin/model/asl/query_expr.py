"""Queries: which series a data expression takes, as a tree of conditions on tags."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.model.asl.expr import Expr, Word, words
from tocsin.model.asl.regexes import compile_regex

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Query(Expr):
    """A condition on tags."""

    def matches(self, tags: Tags) -> bool:
        """Whether a series with these tags is taken."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The condition for a person."""
        raise NotImplementedError

    def and_(self, other: Query) -> Query:
        """Both."""
        if isinstance(other, AllOf):
            return self
        return other if isinstance(other, NoneOf) else And(self, other)

    def or_(self, other: Query) -> Query:
        """Either."""
        if isinstance(other, NoneOf):
            return self
        return other if isinstance(other, AllOf) else Or(self, other)

    def not_(self) -> Query:
        """The opposite."""
        return Not(self)


@dataclass(frozen=True)
class AllOf(Query):
    """`:true`"""

    def __str__(self) -> str:
        return ":true"

    def matches(self, tags: Tags) -> bool:  # noqa: ARG002
        return True

    @property
    def label(self) -> str:
        return "true"

    def and_(self, other: Query) -> Query:
        return other

    def or_(self, other: Query) -> Query:  # noqa: ARG002
        return self

    def not_(self) -> Query:
        return NONE


@dataclass(frozen=True)
class NoneOf(Query):
    """`:false`"""

    def __str__(self) -> str:
        return ":false"

    def matches(self, tags: Tags) -> bool:  # noqa: ARG002
        return False

    @property
    def label(self) -> str:
        return "false"

    def and_(self, other: Query) -> Query:  # noqa: ARG002
        return self

    def or_(self, other: Query) -> Query:
        return other

    def not_(self) -> Query:
        return ALL


ALL = AllOf()
NONE = NoneOf()


@dataclass(frozen=True)
class KeyQuery(Query):
    """A condition on one key."""

    key: str


@dataclass(frozen=True)
class HasKey(KeyQuery):
    """`key,:has`"""

    def __str__(self) -> str:
        return words(self.key, Word(":has"))

    def matches(self, tags: Tags) -> bool:
        return self.key in tags

    @property
    def label(self) -> str:
        return f"has({self.key})"


@dataclass(frozen=True)
class KeyValueQuery(KeyQuery):
    """A condition on the value of one key; a series without the key is not taken."""

    def check(self, value: str) -> bool:
        """Whether the value of the key is taken."""
        raise NotImplementedError

    def matches(self, tags: Tags) -> bool:
        value = tags.get(self.key)
        return value is not None and self.check(value)


@dataclass(frozen=True)
class Compare(KeyValueQuery):
    """Text comparison of one key with a constant; `word` is the operation without its colon."""

    value: str
    word = ""
    sign = ""

    def __str__(self) -> str:
        return words(self.key, self.value, Word(f":{self.word}"))

    @property
    def label(self) -> str:
        return f"{self.key}{self.sign}{self.value}"


@dataclass(frozen=True)
class Equal(Compare):
    """`key,value,:eq`"""

    word, sign = "eq", "="

    def check(self, value: str) -> bool:
        return value == self.value


@dataclass(frozen=True)
class Less(Compare):
    """`key,value,:lt`, by character code"""

    word, sign = "lt", "<"

    def check(self, value: str) -> bool:
        return value < self.value


@dataclass(frozen=True)
class LessEqual(Compare):
    """`key,value,:le`"""

    word, sign = "le", "<="

    def check(self, value: str) -> bool:
        return value <= self.value


@dataclass(frozen=True)
class Greater(Compare):
    """`key,value,:gt`"""

    word, sign = "gt", ">"

    def check(self, value: str) -> bool:
        return value > self.value


@dataclass(frozen=True)
class GreaterEqual(Compare):
    """`key,value,:ge`"""

    word, sign = "ge", ">="

    def check(self, value: str) -> bool:
        return value >= self.value


@dataclass(frozen=True)
class Regex(Compare):
    """`key,pattern,:re`: the pattern is anchored at the start of the value"""

    word = "re"

    def __post_init__(self) -> None:
        _compiled(self.value, ignore_case=False)

    def check(self, value: str) -> bool:
        return _compiled(self.value, ignore_case=False).match(value) is not None

    @property
    def label(self) -> str:
        return f"{self.key}~/^{self.value}/"


@dataclass(frozen=True)
class RegexIgnoreCase(Compare):
    """`key,pattern,:reic`"""

    word = "reic"

    def __post_init__(self) -> None:
        _compiled(self.value, ignore_case=True)

    def check(self, value: str) -> bool:
        return _compiled(self.value, ignore_case=True).match(value) is not None

    @property
    def label(self) -> str:
        return f"{self.key}~/^{self.value}/i"


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    return compile_regex(pattern, ignore_case=ignore_case)


@dataclass(frozen=True)
class In(KeyValueQuery):
    """`key,(,a,b,),:in`"""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return words(self.key, self.values, Word(":in"))

    def check(self, value: str) -> bool:
        return value in self.values

    @property
    def label(self) -> str:
        return f"{self.key} in ({','.join(self.values)})"


@dataclass(frozen=True)
class And(Query):
    """Both conditions."""

    left: Query
    right: Query

    def __str__(self) -> str:
        return words(self.left, self.right, Word(":and"))

    def matches(self, tags: Tags) -> bool:
        return self.left.matches(tags) and self.right.matches(tags)

    @property
    def label(self) -> str:
        return f"({self.left.label}) and ({self.right.label})"


@dataclass(frozen=True)
class Or(Query):
    """Either condition."""

    left: Query
    right: Query

    def __str__(self) -> str:
        return words(self.left, self.right, Word(":or"))

    def matches(self, tags: Tags) -> bool:
        return self.left.matches(tags) or self.right.matches(tags)

    @property
    def label(self) -> str:
        return f"({self.left.label}) or ({self.right.label})"


@dataclass(frozen=True)
class Not(Query):
    """The opposite of a condition."""

    query: Query

    def __str__(self) -> str:
        return words(self.query, Word(":not"))

    def matches(self, tags: Tags) -> bool:
        return not self.query.matches(tags)

    @property
    def label(self) -> str:
        return f"not({self.query.label})"


def exact_keys(query: Query) -> frozenset[str]:
    """Keys whose value the query fixes: they stay in the tags of the result."""
    if isinstance(query, And):
        return exact_keys(query.left) | exact_keys(query.right)
    return frozenset((query.key,)) if isinstance(query, Equal) else frozenset()


def all_keys(query: Query) -> frozenset[str]:
    """Every key that the query looks at."""
    if isinstance(query, And | Or):
        return all_keys(query.left) | all_keys(query.right)
    if isinstance(query, Not):
        return all_keys(query.query)
    return frozenset((query.key,)) if isinstance(query, KeyQuery) else frozenset()


def contains_pattern(value: str, *, start: str = "", end: str = "") -> str:
    """A pattern for a literal text: characters with a meaning in patterns are escaped, spaces stay."""
    return start + re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", value) + end
