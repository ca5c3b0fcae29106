"""Running programs: tokens and their positions, lists, variables, limits, and what errors say."""

from __future__ import annotations

import pytest

from tocsin.model.asl.errors import AslError, AslNotFoundError
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.text import escape, tokenize, unescape
from tocsin.model.asl.words import TOCSIN

RUN = Interpreter(TOCSIN)


def test_tokens_know_where_they_stand() -> None:
    """White space and comments are dropped, positions stay those of the text."""
    tokens = tokenize(" a, /* x,y */ b ,,\n:dup")
    assert [(str(t), t.start) for t in tokens] == [("a", 1), ("b", 14), (":dup", 19)]


@pytest.mark.parametrize("program", ["/* a", "a */", "/* /* a */"])
def test_unclosed_comments_are_refused(program: str) -> None:
    """A comment that is not closed, or not opened, is an error."""
    with pytest.raises(AslError, match="unclosed comment"):
        tokenize(program)


@pytest.mark.parametrize("text", ["(", ")", "a,b", " a b ", ":eq", "a\\u002cb", "x/*y", "é\t"])
def test_escaped_text_is_one_token_that_reads_back(text: str) -> None:
    """Escaping makes one token of any text, and unescaping gives the text again."""
    tokens = tokenize(escape(text))
    assert [unescape(t) for t in tokens] == [text]


def test_error_names_token_position_and_nearest_word() -> None:
    """An unknown word is named with its position and the word that was probably meant."""
    with pytest.raises(AslError) as caught:
        RUN.run("name,a,:eq,:summ")
    assert (caught.value.token, caught.value.position) == (":summ", 11)
    assert "did you mean ':sum'?" in str(caught.value)


def test_error_in_a_list_points_into_the_list() -> None:
    """A fault inside a program that :each runs points at the token inside it."""
    with pytest.raises(AslError) as caught:
        RUN.run("(,a,),(,:nope,),:each")
    assert (caught.value.token, caught.value.position) == (":nope", 8)


def test_mismatch_tells_stack_and_candidates() -> None:
    """A word that does not fit says what lies on the stack and what would fit."""
    with pytest.raises(AslError, match=r"no matches for word ':avg' with stack \[List\], candidates: \[TimeSeriesExpr"):
        RUN.run("(,a,),:avg")


@pytest.mark.parametrize(
    ("program", "stack"),
    [
        ("a,b,:swap", ["b", "a"]),
        ("a,b,c,:rot", ["b", "c", "a"]),
        ("a,b,c,:-rot", ["c", "a", "b"]),
        ("a,b,:2over", ["a", "b", "a", "b"]),
        ("a,b,:tuck", ["b", "a", "b"]),
        ("a,b,c,1,:pick", ["a", "b", "c", "b"]),
        ("a,b,c,1,:roll", ["a", "c", "b"]),
        ("a,b,c,2,:nlist", ["a", ["b", "c"]]),
        ("a,b,:list", [["b", "a"]]),
        ("(,a,b,),(,x,),:each", ["b", "x", "a", "x"]),
        ("(,a%s,b%s,),(,(,!,),:format,),:map", [["a!", "b!"]]),
        ("k,v,:set,k,:get", ["v"]),
        ("a,:freeze,b,:clear", ["a"]),
        ("a,b,:depth", ["a", "b", "2"]),
        ("f,(,:dup,),:set,a,f,:fcall", ["a", "a"]),
        ("%05d|%-4s|%x,(,42,ab,255,),:format", ["00042|ab  |ff"]),
    ],
)
def test_stack_words(program: str, stack: list[object]) -> None:
    """Words on the stack leave what their documentation says."""
    assert RUN.run(program) == stack


def test_frozen_expressions_are_out_of_reach() -> None:
    """A common query after :freeze does not reach what was frozen."""
    frozen, other = RUN.run("name,a,:eq,:freeze,name,b,:eq,:list,(,cdn,x,:eq,:cq,),:each")
    assert str(frozen) == "name,a,:eq"
    assert str(other) == "name,b,:eq,cdn,x,:eq,:and"


def test_unknown_variable_is_not_found() -> None:
    """Reading a variable that is not set is a 404 error."""
    with pytest.raises(AslNotFoundError, match="variable 'x' is not set"):
        RUN.run("x,:get")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("f,(,f,:fcall,),:set,f,:fcall", "looping detected"),
        (",".join(["a"] * 1025), "stack overflow"),
        ("(,a", "unmatched opening parenthesis"),
        ("a,)", "unmatched closing parenthesis"),
        ("a" * 70_000, "too long"),
        ("a,1,:pick", "reaches below the stack"),
        ("a,1e400,:const,:pick", "no matches"),
    ],
)
def test_programs_have_limits(program: str, message: str) -> None:
    """Loops, deep stacks, long programs and bad structure are refused."""
    with pytest.raises(AslError, match=message):
        RUN.run(program)


def test_pattern_that_could_run_for_ever_is_refused() -> None:
    """A repeat of a repeat without bound is refused when it is read."""
    with pytest.raises(AslError, match="too expensive"):
        RUN.run("cdn,(a+)+$,:re")


def test_named_rewrites_keep_their_name_and_follow_changes() -> None:
    """:avg stays :avg through grouping, shifting and a common query, and its full form follows."""
    (expr,) = RUN.run("name,a,:eq,:avg,(,device,),:by,1w,:offset,cdn,b,:eq,:cq")
    assert str(expr) == "name,a,:eq,cdn,b,:eq,:and,:avg,1w,:offset,(,device,),:by"
    leaves = [str(leaf) for leaf in expr.data_exprs]  # type: ignore[union-attr]
    assert all("cdn,b,:eq" in leaf and leaf.endswith("1w,:offset") for leaf in leaves)


def test_catalogue_ratio_takes_a_definition() -> None:
    """A ratio word by name of a definition reads other parts than by default."""
    default, cirr = RUN.run(":true,:rebuffer-ratio,:true,cirr,:rebuffer-ratio")
    assert str(cirr) == ":true,cirr,:rebuffer-ratio"
    assert "seek_wait" in str(default.data_exprs[1])  # type: ignore[union-attr]
    assert "seek_wait" not in str(cirr.data_exprs[1])  # type: ignore[union-attr]
