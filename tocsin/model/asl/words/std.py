"""Words on the stack itself: copying, ordering, lists, variables, programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.formatting import format_text
from tocsin.model.asl.vocabulary import ANY, INT, LIST, STRING, Effect, Param, Value, Word, macro

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

GROUP = "std"
_A, _B = Param("a", ANY), Param("b", ANY)
_N = Param("n", INT)


def _push(order: Callable[..., Sequence[Value]]) -> Effect:
    def effect(machine: Machine, values: Sequence[Any]) -> None:
        machine.stack.extend(order(*values))

    return effect


def _word(name: str, params: tuple[Param, ...], outputs: str, doc: str, effect: Effect, *examples: str) -> Word:
    return Word(name, GROUP, params, outputs, doc, effect, examples)


def _each(machine: Machine, values: Sequence[Any]) -> None:
    items, program = values
    for item in reversed(items):
        machine.stack.append(item)
        machine.run(program)


def _map(machine: Machine, values: Sequence[Any]) -> None:
    items, program = values
    results: list[Value] = []
    for item in items:
        machine.stack.append(item)
        machine.run(program)
        if not machine.stack:
            raise AslError(":map needs a program that leaves a value for each item")
        results.append(machine.stack.pop())
    machine.stack.append(results)


def _depth_of(machine: Machine, n: int, name: str) -> int:
    if not 0 <= n < len(machine.stack):
        raise AslError(f":{name} {n} reaches below the stack, which has {len(machine.stack)} items")
    return len(machine.stack) - 1 - n


def _pick(machine: Machine, values: Sequence[Any]) -> None:
    machine.stack.append(machine.stack[_depth_of(machine, values[0], "pick")])


def _roll(machine: Machine, values: Sequence[Any]) -> None:
    machine.stack.append(machine.stack.pop(_depth_of(machine, values[0], "roll")))


def _top(machine: Machine, n: int) -> list[Value]:
    cut = max(0, len(machine.stack) - max(0, n))
    taken = machine.stack[cut:]
    del machine.stack[cut:]
    return taken


def _nlist(machine: Machine, values: Sequence[Any]) -> None:
    machine.stack.append(_top(machine, values[0]))


def _ndrop(machine: Machine, values: Sequence[Any]) -> None:
    _top(machine, values[0])


def _rot(machine: Machine, _values: Sequence[Any]) -> None:
    machine.stack.append(machine.stack.pop(0))


def _reverse_rot(machine: Machine, _values: Sequence[Any]) -> None:
    machine.stack.insert(0, machine.stack.pop())


def _list(machine: Machine, _values: Sequence[Any]) -> None:
    machine.stack[:] = [machine.stack[::-1]]


def _set(machine: Machine, values: Sequence[Any]) -> None:
    machine.variables[values[0]] = values[1]


_STACK_ORDER = (
    _word("dup", (_A,), "Any Any", "Copy the top item.", _push(lambda a: (a, a)), "a", "a,b"),
    _word("drop", (_A,), "", "Remove the top item.", _push(lambda _a: ()), "a,b,c"),
    _word("swap", (_A, _B), "Any Any", "Exchange the two top items.", _push(lambda a, b: (b, a)), "a,b"),
    _word("over", (_A, _B), "Any Any Any", "Copy the second item to the top.", _push(lambda a, b: (a, b, a)), "a,b"),
    _word("rot", (), "*", "Move the bottom item to the top.", _rot, "a,b,c,d"),
    _word("-rot", (), "*", "Move the top item to the bottom.", _reverse_rot, "a,b,c,d"),
    _word("roll", (_N,), "*", "Move the item that lies n below the top to the top.", _roll, "a,b,1", "a,0"),
    _word("pick", (_N,), "*", "Copy the item that lies n below the top to the top.", _pick, "a,b,1", "a,0"),
    _word("clear", (), "", "Remove everything.", lambda m, _: m.stack.clear(), "a,b,c"),
    _word(
        "depth", (), "Int", "Push how many items there are.", lambda m, _: m.stack.append(str(len(m.stack))), "", "a,b"
    ),
    _word("ndrop", (_N,), "*", "Remove the n top items.", _ndrop, "a,b,c,2", "a,0"),
    macro("2over", GROUP, ":over,:over", (_A, _B), "Any Any Any Any", "Copy the two top items.", "a,b"),
    macro("nip", GROUP, ":swap,:drop", (_A, _B), "Any", "Remove the second item.", "a,b"),
    macro("tuck", GROUP, ":swap,:over", (_A, _B), "Any Any Any", "Copy the top item below the second.", "a,b"),
)

_ITEMS, _PROGRAM = Param("items", LIST), Param("f", LIST)
_LISTS = (
    _word("list", (), "List", "Put everything into one list, the top item first.", _list, "a,b", ""),
    _word("nlist", (_N,), "* List", "Put the n top items into a list, the deepest first.", _nlist, "a,b,c,2", "a,0"),
    _word(
        "each",
        (_ITEMS, _PROGRAM),
        "*",
        "Push each item of a list, the last first, and run a program after it.",
        _each,
        "(,a,b,),(,:dup,)",
    ),
    _word(
        "map",
        (_ITEMS, _PROGRAM),
        "List",
        "Make a list of what a program leaves for each item.",
        _map,
        "(,a%s,b%s,),(,(,.example.com,),:format,)",
    ),
    _word("call", (Param("program", LIST),), "*", "Run a list as a program.", lambda m, v: m.run(v[0]), "(,a,)"),
    _word(
        "format",
        (Param("pattern", STRING), Param("args", LIST)),
        "String",
        "Fill values into a printf-like pattern: %s %d %u %x %X %f, with position, flags, width and precision.",
        lambda m, v: m.stack.append(format_text(v[0], [str(x) for x in v[1]])),
        "foo%s,(,bar,)",
        "%05d,(,42,)",
    ),
    _word(
        "freeze",
        (),
        "",
        "Put everything aside, where later words (a `:cq` that a tool appends) do not reach it.",
        lambda m, _: m.freeze(),
        "a,b,c",
    ),
)

_K, _V = Param("k", STRING), Param("v", ANY)
_VARIABLES = (
    _word("set", (_K, _V), "", "Keep a value under a name.", _set, "k,v"),
    _word(
        "get",
        (_K,),
        "Any",
        "Push the value kept under a name.",
        lambda m, v: m.stack.append(m.variable(v[0])),
        "k,v,:set,k",
    ),
    macro("sset", GROUP, ":swap,:set", (_V, _K), "", "Keep a value under a name, the name given last.", "v,k"),
    macro(
        "fcall",
        GROUP,
        ":get,:call",
        (_K,),
        "*",
        "Run the program kept under a name.",
        "duplicate,(,:dup,),:set,a,duplicate",
    ),
)


def _not_empty(word: Word) -> Word:
    return Word(
        word.name,
        word.group,
        word.params,
        word.outputs,
        word.doc,
        word.effect,
        word.examples,
        fits=lambda s: len(s) > 0,
    )


WORDS = (*(_not_empty(w) if w.name in ("rot", "-rot") else w for w in _STACK_ORDER), *_LISTS, *_VARIABLES)
