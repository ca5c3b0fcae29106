"""Patterns from people: Java's spelling is accepted, and one that could run for ever is refused.

Python's engine backtracks, so a repeat inside an unbounded repeat can take exponential time. A pattern comes with a
query and is run on every tag value, hence such a pattern is refused when it is read rather than stopped while it runs.
"""

from __future__ import annotations

import re
from re import _constants, _parser  # type: ignore[attr-defined]

from tocsin.model.asl.errors import AslError

_MAX_PATTERN = 1_000
_JAVA_NAMED_GROUP = re.compile(r"\(\?<(?=[A-Za-z])")


def compile_regex(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Compile a pattern; refused when it is malformed, too long, or nests unbounded repeats."""
    if len(pattern) > _MAX_PATTERN:
        raise AslError(f"pattern of {len(pattern)} characters is too long: at most {_MAX_PATTERN} are allowed")
    spelled = _JAVA_NAMED_GROUP.sub("(?P<", pattern)
    try:
        if _repeats_in_repeats(_parser.parse(spelled)):
            raise AslError(f"pattern '{pattern}' is too expensive: it repeats a repeat without bound")
        return re.compile(spelled, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise AslError(f"invalid pattern '{pattern}': {error}") from None


def _repeats_in_repeats(parsed: object, inside: int = 0) -> bool:
    for op, argument in parsed:  # type: ignore[attr-defined]
        depth = inside
        children: list[object] = []
        if op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            low, high, child = argument
            if high == _constants.MAXREPEAT or high - low > 64:
                depth += 1
            children = [child]
        elif op is _constants.SUBPATTERN:
            children = [argument[-1]]
        elif op is _constants.BRANCH:
            children = list(argument[1])
        elif op in (_constants.ASSERT, _constants.ASSERT_NOT):
            children = [argument[1]]
        elif op is _constants.ATOMIC_GROUP:
            children = [argument]
        if depth > 1 or any(_repeats_in_repeats(child, depth) for child in children):
            return True
    return False
