"""The reference of the stack language as Markdown, made from its entries."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.model.asl.vocabulary import Vocabulary, Word

_TITLES = {
    "std": "The stack",
    "query": "Which series",
    "data": "Reading data",
    "math": "Arithmetic",
    "stateful": "Looking back",
    "filter": "Choosing lines",
    "style": "Presentation",
    "custom": "Averages over other metrics",
    "event": "Events",
    "catalogue": "Metric catalogue",
}
_INTRODUCTION = """# Stack language

An expression is a program: tokens between commas, run from left to right over a stack. A token that starts with a
colon is a word; anything else is put on the stack. `(,a,b,)` is a list, `/* … */` a comment, `\\u002c` a comma within a
token. A graph shows every expression that is on the stack at the end. The words are those of Netflix Atlas 1.9, and
those of the metric catalogue. This page is made from the entries themselves.
"""


def markdown(vocabulary: Vocabulary) -> str:
    """Every entry with its signature, meaning and examples, group by group."""
    return "\n".join(_lines(vocabulary)).rstrip() + "\n"


def _lines(vocabulary: Vocabulary) -> Iterator[str]:
    yield _INTRODUCTION
    for group, title in _TITLES.items():
        words = [word for word in vocabulary.words if word.group == group]
        if words:
            yield f"## {title}\n"
            yield "| word | stack before -- after | meaning | example |"
            yield "| --- | --- | --- | --- |"
            yield from (_row(word) for word in words)
            yield ""


def _row(word: Word) -> str:
    example = word.examples[0] if word.examples else ""
    program = f"{example},:{word.name}" if example else f":{word.name}"
    meaning = word.doc if word.deprecated is None else f"{word.doc} Older spelling: {word.deprecated}."
    cells = (f"`:{word.name}`", f"`{word.signature.strip()}`", meaning, f"`{program}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
