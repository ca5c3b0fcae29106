"""The word groups, in the order in which their words are tried."""

from __future__ import annotations

from tocsin.model.asl.vocabulary import Vocabulary
from tocsin.model.asl.words import custom, data, event, filter, math, query, stateful, statistics, std, style  # noqa: A004

GROUPS = ("std", "query", "data", "math", "stateful", "filter", "style", "custom", "event")

ATLAS = Vocabulary(
    (
        *std.WORDS,
        *query.WORDS,
        *data.WORDS,
        *math.WORDS,
        *statistics.WORDS,
        *stateful.WORDS,
        *filter.WORDS,
        *style.WORDS,
        *custom.WORDS,
        *event.WORDS,
    )
)
