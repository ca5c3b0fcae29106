"""Presentation of an expression: settings beside it, and the legend text of its lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Expr, Rewrite, rewritten
from tocsin.model.asl.lines import Tags
from tocsin.model.asl.regexes import compile_regex
from tocsin.model.asl.series_expr import SeriesExpr
from tocsin.model.asl.text import escape, hex_decode, parse_double, parse_int, substitute, tokenize, unescape
from tocsin.model.asl.times import format_duration, parse_duration

_MAX_LEGEND = 4_096


@dataclass(frozen=True)
class StyleExpr(Expr):
    """An expression with its settings, kept sorted by key."""

    expr: SeriesExpr
    settings: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        parts = [str(self.expr)]
        for key, value in reversed(self.settings):
            if key == "sed":
                parts.append(value)
            elif key == "ls":
                parts.append(f":{value}")
            elif key == "offset":
                parts.append(f"{value},:offset")
            else:
                parts.append(f"{escape(value)},:{key}")
        return ",".join(parts)

    def rewrite(self, change: Rewrite) -> Expr:
        new = change(self)
        if new is not None:
            return new
        return StyleExpr(rewritten(self.expr, change, SeriesExpr), self.settings)

    def get(self, key: str) -> str | None:
        """The value of a setting."""
        return dict(self.settings).get(key)

    def with_(self, key: str, value: str, without: Iterable[str] = ()) -> StyleExpr:
        """The same with one setting put in and others taken out."""
        settings = {k: v for k, v in self.settings if k not in frozenset(without)}
        settings[key] = value
        return StyleExpr(self.expr, tuple(sorted(settings.items())))

    def without(self, key: str) -> StyleExpr:
        """The same without a setting."""
        return StyleExpr(self.expr, tuple((k, v) for k, v in self.settings if k != key))

    def with_expr(self, expr: SeriesExpr) -> StyleExpr:
        """The same settings on another expression."""
        return StyleExpr(expr, self.settings)

    @property
    def offset_ms(self) -> int:
        """The smallest offset of the data below, 0 where there are none."""
        return min((e.offset for e in self.expr.data_exprs), default=0)

    @property
    def axis(self) -> int:
        """Which value axis the lines belong to."""
        value = self.get("axis")
        if value is None:
            return 0
        number = parse_int(value)
        if number is None:
            raise AslError(f"invalid axis: '{value}' is no number")
        return number

    @property
    def limit(self) -> int | None:
        """The most lines to show, if set."""
        value = self.get("limit")
        if value is None:
            return None
        number = parse_int(value)
        if number is None:
            raise AslError(f"invalid limit: '{value}' is no number")
        return number

    @property
    def line_width(self) -> float:
        """Stroke width in pixels."""
        value = self.get("lw")
        if value is None:
            return 1.0
        number = parse_double(value)
        if number is None:
            raise AslError(f"invalid line width: '{value}' is no number")
        return number

    @property
    def alpha(self) -> int | None:
        """Opacity from 0 to 255, if set."""
        value = self.get("alpha")
        if value is None:
            return None
        if len(value) != 2 or not re.fullmatch("[0-9a-fA-F]{2}", value):
            raise AslError(f"invalid alpha: '{value}' is no two digit hex number")
        return int(value, 16)

    def per_offset(self) -> list[StyleExpr]:
        """One expression for each offset of the older list form of `:offset`; this one alone without it."""
        offsets = self.style_offsets()
        if not offsets:
            return [self]
        plain = self.without("offset")
        return [plain.with_expr(self.expr.with_offset(ms)) for ms in offsets]

    def style_offsets(self) -> list[int]:
        """The list of `(,0h,1w,),:offset`, in ms."""
        value = self.get("offset")
        if value is None:
            return []
        return [parse_duration(unescape(t)) for t in tokenize(value) if t not in ("(", ")")]

    def legend(self, label: Callable[[], str], tags: Tags) -> str:
        """The legend of a line; `label` is its own label, made only where no legend is set."""
        template = self.get("legend")
        if template is None:
            offset = self.offset_ms
            template = label() + (f" (offset={format_duration(offset)})" if offset > 0 else "")
        return self._transform(substitute(template, lambda k: tags.get(k, k)), tags)

    def _transform(self, text: str, tags: Tags) -> str:
        sed = self.get("sed")
        commands = sed.split(",") if sed else []
        i = 0
        while i < len(commands):
            if commands[i + 1 : i + 2] == [":decode"]:
                text = _decode(text, commands[i])
                i += 2
            elif commands[i + 2 : i + 3] == [":s"]:
                text = _replace(text, commands[i], commands[i + 1], tags)
                i += 3
            else:
                i += 1
        return text


def _decode(text: str, mode: str) -> str:
    if mode == "none":
        return text
    if mode != "hex":
        raise AslError(f"unknown encoding '{mode}': it is hex or none")
    return hex_decode(text)


def _replace(text: str, search: str, replacement: str, tags: Tags) -> str:
    pattern = compile_regex(search)

    def put(match: re.Match[str]) -> str:
        def value(key: str) -> str:
            if key.isdigit() and int(key) <= pattern.groups:
                return match.group(int(key)) or ""
            if key in pattern.groupindex:
                return match.group(key) or ""
            return tags.get(key, key)

        return substitute(replacement, value)

    return pattern.sub(put, text[:_MAX_LEGEND])
