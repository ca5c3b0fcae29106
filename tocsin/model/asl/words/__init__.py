"""The word groups, in the order in which their words are tried."""

from __future__ import annotations

from tocsin.model.asl.vocabulary import Vocabulary
from tocsin.model.asl.words import catalogue, custom, data, event, filter, math, query, stateful, statistics, std, style  # noqa: A004
from tocsin.model.catalogue import METRICS

GROUPS = ("std", "query", "data", "math", "stateful", "filter", "style", "custom", "event", "catalogue")

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

TOCSIN = ATLAS.extended(catalogue.catalogue_words(METRICS))
"""Atlas's words and those of the metric catalogue."""
