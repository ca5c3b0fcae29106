"""The interpreter: runs a program token by token over a stack, and can show every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.model.asl.errors import AslError, AslNotFoundError, nearest
from tocsin.model.asl.expr import Expr
from tocsin.model.asl.text import Token, position_of, tokenize, unescape
from tocsin.model.asl.vocabulary import Value, Vocabulary, Word

MAX_STACK = 1_024
MAX_DEPTH = 10
MAX_STEPS = 100_000
MAX_PROGRAM = 65_536


@dataclass
class Machine:
    """The state of a run: the stack with its top last, what `:freeze` has put aside, and variables."""

    interpreter: Interpreter
    stack: list[Value] = field(default_factory=list)
    variables: dict[str, Value] = field(default_factory=dict)
    initial: Mapping[str, Value] = field(default_factory=dict)
    frozen: list[Value] = field(default_factory=list)
    depth: int = 0
    steps: int = 0

    def run(self, program: Sequence[Value]) -> None:
        """Run a list as a program on this stack; lists nest at most ten deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise AslError(f"looping detected: programs are nested more than {MAX_DEPTH} deep")
        position = 0
        while position < len(program):
            position = self.step(program, position)
        self.depth -= 1

    def step(self, program: Sequence[Value], position: int) -> int:
        """Run the token at a position; give the position after it."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise AslError(f"the program runs for more than {MAX_STEPS} steps")
        item = program[position]
        if item == "(":
            position = self._push_list(program, position)
        elif item == ")":
            raise AslError("unmatched closing parenthesis", token=")", position=_at(item))  # noqa: S106
        elif isinstance(item, str) and item.startswith(":"):
            self.interpreter.run_word(item, self)
        else:
            self.stack.append(_unescaped(item))
        if len(self.stack) > MAX_STACK:
            raise AslError(f"stack overflow: more than {MAX_STACK} items", token=str(item), position=_at(item))
        return position + 1

    def _push_list(self, program: Sequence[Value], start: int) -> int:
        depth = 0
        items: list[Value] = []
        for position in range(start + 1, len(program)):
            item = program[position]
            if item == ")" and depth == 0:
                self.stack.append(items)
                return position
            depth += (item == "(") - (item == ")")
            items.append(item)
            if len(items) > MAX_STACK:
                raise AslError(f"stack overflow: a list of more than {MAX_STACK} items")
        raise AslError("unmatched opening parenthesis", token="(", position=_at(program[start]))  # noqa: S106

    def freeze(self) -> None:
        """Put the stack aside, where nothing reaches it, and forget variables."""
        self.frozen.extend(self.stack)
        self.stack.clear()
        self.variables = dict(self.initial)

    def result(self) -> list[Value]:
        """The stack with what was frozen below it, bottom first."""
        return [*self.frozen, *self.stack]

    def variable(self, name: str) -> Value:
        """The value of a variable."""
        if name not in self.variables:
            raise AslNotFoundError(f"key not found: variable '{name}' is not set{nearest(name, self.variables)}")
        return self.variables[name]


def _at(token: Value) -> int | None:
    return position_of(token) if isinstance(token, str) else None


def _unescaped(token: Value) -> Value:
    if isinstance(token, Token):
        return Token(unescape(token), token.start)
    return unescape(token) if isinstance(token, str) else token


@dataclass(frozen=True)
class Step:
    """One step of a run: what is left of the program, and the stack (top first) and variables before it."""

    program: tuple[str, ...]
    stack: tuple[Value, ...]
    variables: Mapping[str, Value]


class Interpreter:
    """Runs programs over one vocabulary. It keeps nothing between runs."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def run(self, program: str | Sequence[Value], variables: Mapping[str, Value] | None = None) -> list[Value]:
        """Run a program; gives its stack, bottom first."""
        return self.machine(program, variables).result()

    def run_to_stack(self, program: str) -> list[object]:
        """Run a program; gives its stack, bottom first."""
        return list(self.run(program))

    def machine(self, program: str | Sequence[Value], variables: Mapping[str, Value] | None = None) -> Machine:
        """Run a program and give the machine as it was left."""
        machine = self._new(variables)
        machine.run(self._tokens(program))
        return machine

    def debug(self, program: str) -> list[Step]:
        """Every step of a run, and the end."""
        tokens = self._tokens(program)
        machine = self._new(None)
        steps, position = [_step(tokens, machine, final=not tokens)], 0
        while position < len(tokens):
            position = machine.step(tokens, position)
            steps.append(_step(tokens[position:], machine, final=position >= len(tokens)))
        return steps

    def candidates(self, machine: Machine) -> list[Word]:
        """Words that fit the stack of a machine and also run on it."""
        return [w for w in self.vocabulary.words if w.matches(machine.stack) and self._works(w, machine)]

    def _works(self, word: Word, machine: Machine) -> bool:
        trial = Machine(self, [*machine.stack], dict(machine.variables), machine.initial, [*machine.frozen])
        try:
            trial.run([f":{word.name}"])
        except AslError:
            return False
        return True

    def run_word(self, token: str, machine: Machine) -> None:
        """Run the first overload of a word that fits the stack."""
        try:
            self._fitting(token, machine).run(machine)
        except AslError as error:
            raise error.at(str(token), position_of(token)) from None

    def _fitting(self, token: str, machine: Machine) -> Word:
        overloads = self.vocabulary.named(token[1:])
        for word in overloads:
            if word.matches(machine.stack):
                return word
        if not overloads:
            known = [f":{name}" for name in self.vocabulary.names]
            raise AslError(f"unknown word '{token}'{nearest(token, known)}")
        wants = " or ".join(f"[{w.signature}]" for w in overloads)
        raise AslError(f"no matches for word '{token}' with stack {summary(machine.stack)}, candidates: {wants}")

    def _new(self, variables: Mapping[str, Value] | None) -> Machine:
        given = dict(variables or {})
        return Machine(self, variables=dict(given), initial=given)

    def _tokens(self, program: str | Sequence[Value]) -> Sequence[Value]:
        if not isinstance(program, str):
            return program
        if len(program) > MAX_PROGRAM:
            raise AslError(f"expression of {len(program)} characters is too long: at most {MAX_PROGRAM} are allowed")
        return tokenize(program)


def _step(rest: Sequence[Value], machine: Machine, *, final: bool) -> Step:
    stack = machine.result() if final else machine.stack
    return Step(tuple(str(t) for t in rest), tuple(reversed(stack)), dict(machine.variables))


def type_name(value: Value) -> str:
    """What a value on the stack is, for messages."""
    if isinstance(value, list):
        return "List"
    return "String" if isinstance(value, str) else type(value).__name__


def summary(stack: Iterable[Value]) -> str:
    """The types on a stack, bottom first: `[Equal,String]`."""
    return "[" + ",".join(type_name(v) for v in stack) + "]"


def value_text(value: Value) -> str:
    """A value on the stack as the debug view shows it."""
    if isinstance(value, Expr):
        return str(value)
    if isinstance(value, list):
        return "List(" + ", ".join(value_text(v) for v in value) + ")"
    return str(value)
