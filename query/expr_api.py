"""`GET /api/v1/expr/…`: look into an expression: its steps, its canonical form, what could follow, its queries."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from query.deps import QueryDeps
from tocsin.model.asl.errors import AslError, AslNotFoundError, nearest
from tocsin.model.asl.forms import normalized, stripped, without_style_offsets
from tocsin.model.asl.stack import Interpreter, summary, value_text
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.vocabulary import MISS, STYLED, Value

# What a vocabulary of the original includes: each builds on those before it.
_LADDER = ("std", "query", "data", "math", "stateful", "filter", "style", "custom")
# Words that always fit or that are older spellings: of no help to somebody who looks for the next word.
_NOT_SUGGESTED_TEXT = (
    "-rot 2over call clear depth drop dup each fcall format freeze get list map ndrop nip nlist over pick "
    "roll rot set sset swap tuck true false reic not all cf-avg cf-sum cf-min cf-max head des des-simple "
    "des-fast des-slow des-slower des-epic-signal des-epic-viz random stat-avg stat-max stat-min "
    "stat-last stat-count stat-total stat-min-mf stat-max-mf stat-avg-mf named-rewrite table sample"
)
_NOT_SUGGESTED = frozenset(_NOT_SUGGESTED_TEXT.split())

Program = Annotated[str, Query(description="The expression.")]
VocabularyName = Annotated[str, Query(description="How much of the language: std, query, data, … custom.")]


def _json(value: Any) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json")


def _interpreter(deps: QueryDeps, vocabulary: str) -> Interpreter:
    if vocabulary == "custom":
        return deps.interpreter
    if vocabulary not in _LADDER:
        raise AslNotFoundError(f"key not found: vocabulary '{vocabulary}'{nearest(vocabulary, _LADDER)}")
    return Interpreter(deps.interpreter.vocabulary.groups(*_LADDER[: _LADDER.index(vocabulary) + 1]))


def _styled(stack: list[Value]) -> list[StyleExpr]:
    """The expressions of a stack that can be graphed, newest first; anything else is passed over."""
    found = (STYLED(value) for value in reversed(stack))
    return [styled for styled in found if styled is not MISS]


def _check(vocabulary: str, stack: list[Value]) -> None:
    if vocabulary == "std":
        return
    if vocabulary == "query":
        if len(stack) != 1:
            raise AslError(f"expected a single query, found {summary(stack)}")
        return
    for value in stack:
        if STYLED(value) is MISS:
            raise AslError(f"expected an expression, found {summary([value])}")
    if not stack:
        raise AslError("expected an expression, stack is empty")


def _debug(deps: QueryDeps, q: str, vocab: str) -> Response:
    interpreter = _interpreter(deps, vocab)
    steps = interpreter.debug(q)
    _check(vocab, list(reversed(steps[-1].stack)))
    return _json(
        [
            {
                "program": list(step.program),
                "context": {
                    "stack": [value_text(v) for v in step.stack],
                    "variables": {k: value_text(v) for k, v in step.variables.items()},
                },
            }
            for step in steps
        ]
    )


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the routes."""

    @routes.get("/api/v1/expr", summary="Show every step of an expression")
    def root(q: Program, vocab: VocabularyName = "custom") -> Response:
        return _debug(deps, q, vocab)

    @routes.get("/api/v1/expr/debug", summary="Show every step of an expression")
    def debug(q: Program, vocab: VocabularyName = "custom") -> Response:
        return _debug(deps, q, vocab)

    @routes.get("/api/v1/expr/normalize", summary="Write expressions in their canonical form")
    def normalize(q: Program, vocab: VocabularyName = "custom") -> Response:
        styled = _styled(_interpreter(deps, vocab).run(q))
        return _json([normalized(expr) for expr in reversed(styled)])

    @routes.get("/api/v1/expr/complete", summary="List the words that could follow")
    def complete(q: Program, vocab: VocabularyName = "custom") -> Response:
        interpreter = _interpreter(deps, vocab)
        words = interpreter.candidates(interpreter.machine(q))
        return _json(
            [
                {"name": word.name, "signature": word.signature, "description": word.doc}
                for word in words
                if word.name not in _NOT_SUGGESTED
            ]
        )

    @routes.get("/api/v1/expr/queries", summary="List the distinct queries of an expression")
    def queries(q: Program, vocab: VocabularyName = "custom") -> Response:
        leaves = [leaf for expr in _styled(_interpreter(deps, vocab).run(q)) for leaf in expr.expr.data_exprs]
        return _json(sorted({str(leaf.source_query) for leaf in leaves}))

    @routes.get("/api/v1/expr/strip", summary="Drop conditions on some keys, filters or styles")
    def strip(
        q: Program, k: Annotated[list[str] | None, Query()] = None, r: Annotated[list[str] | None, Query()] = None
    ) -> Response:
        exprs = _styled(deps.interpreter.run(q))
        return _json([str(stripped(expr, frozenset(k or ()), r or ())) for expr in exprs])

    @routes.get("/api/v1/expr/rewrite", summary="Replace the older list form of :offset")
    def rewrite(q: Program) -> Response:
        exprs = _styled(deps.interpreter.run(q))
        return _json([without_style_offsets(expr, i) for i, expr in enumerate(exprs)])
