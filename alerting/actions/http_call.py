"""An HTTP call with the incident as JSON: switch a CDN's weight, purge, re-encode, take a rendition down.

`{cdn}`, `{device}` … in the URL and in the body's texts stand for the cohort's tags, quoted for the URL; an incident
whose cohort lacks one of them is refused before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from alerting.actions import ActionType
from alerting.pagers import PagerRequest
from tocsin.model.errors import InputError

_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class HttpCall:
    """Method, URL, extra body fields and headers of a call."""

    name: str
    url: str
    method: str = "POST"
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, incident: Mapping[str, Any], key: str) -> PagerRequest:
        """The call for an incident's page; its body is `{"action", …body, "incident": page}`."""
        tags: Mapping[str, str] = incident.get("cohort", {})
        fields = {
            name: self._filled(value, tags) if isinstance(value, str) else value for name, value in self.body.items()
        }
        content = json.dumps({"action": self.name, **fields, "incident": incident}, ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "idempotency-key": key, **self.headers}
        return PagerRequest(self.method, self._filled(self.url, tags, in_url=True), content, headers)

    def _filled(self, text: str, tags: Mapping[str, str], *, in_url: bool = False) -> str:
        def value(match: re.Match[str]) -> str:
            tag = match.group(1)
            if tag not in tags:
                cohort = ", ".join(tags) or "everyone"
                raise InputError(f"running action {self.name}: it needs the tag {tag}, the incident names {cohort}")
            return quote(tags[tag], safe="") if in_url else tags[tag]

        return _PLACE.sub(value, text)


ACTION = ActionType(
    "http_call",
    lambda c: HttpCall(
        str(c["name"]), str(c["url"]), str(c.get("method", "POST")).upper(), dict(c.get("body", {})),
        dict(c.get("headers", {})),
    ),
    ("url", "method", "body", "headers"), ("url",),
)  # fmt: skip
