"""The vocabulary: complete, documented, with examples that run and read back."""

from __future__ import annotations

import pytest

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.vocabulary import Word
from tocsin.model.asl.words import ATLAS, GROUPS, TOCSIN

EXAMPLES = [
    pytest.param(word, example, id=f"{word.name}-{i}")
    for word in TOCSIN.words
    for i, example in enumerate(word.examples)
]


def test_all_names_of_atlas_are_there() -> None:
    """The language has Atlas's 163 names."""
    assert len(ATLAS.names) == 163


def test_every_word_is_documented() -> None:
    """Each entry belongs to a group, says what it does and shows at least one example."""
    for word in TOCSIN.words:
        assert word.group in GROUPS, word.name
        assert word.doc.rstrip().endswith("."), word.name
        assert word.examples, word.name
        assert " -- " in f" {word.signature} ", word.name


@pytest.mark.parametrize(("word", "example"), EXAMPLES)
def test_example_runs(word: Word, example: str) -> None:
    """Every example of a word runs with that word after it."""
    program = f"{example},:{word.name}" if example else f":{word.name}"
    Interpreter(TOCSIN).run(program)


@pytest.mark.parametrize(("word", "example"), [e for e in EXAMPLES if e.values[0].name != "named-rewrite"])
def test_result_reads_back(word: Word, example: str) -> None:
    """The program of an expression gives the expression again."""
    interpreter = Interpreter(TOCSIN)
    program = f"{example},:{word.name}" if example else f":{word.name}"
    for value in interpreter.run(program):
        if isinstance(value, Expr):
            again = interpreter.run(str(value))
            assert len(again) == 1
            assert str(again[0]) == str(value)
            plain = value.expr if isinstance(value, StyleExpr) and not value.settings else value
            assert again[0] == plain or str(again[0]) == str(plain)
