"""Signed webhook: the page as JSON, HMAC-SHA256 over timestamp and body, an idempotency key.

The receiver checks `hex(hmac_sha256(secret, timestamp + "." + body))` against `X-Tocsin-Signature: v1=…`, refuses old
timestamps, and drops a key that it has seen: delivery is at least once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alerting.pagers import PagerRequest, PagerType

TOLERANCE_MS = 300_000
"""Age of a timestamp that `verify` accepts."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One URL and the secret that it shares with us."""

    name: str
    url: str
    secret: str
    level_triggered: bool = False

    def request(self, page: Mapping[str, Any], key: str, now_ms: int) -> PagerRequest:
        """The signed POST of a page."""
        body = json.dumps(page, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        timestamp = str(now_ms // 1000)
        headers = {
            "content-type": "application/json",
            "x-tocsin-timestamp": timestamp,
            "x-tocsin-signature": f"v1={sign(self.secret, timestamp, body)}",
            "idempotency-key": key,
        }
        return PagerRequest("POST", self.url, body, headers)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256 over `timestamp.body`."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> bool:
    """What a receiver does: whether the signature fits and is fresh. `headers` with lower-case names."""
    timestamp = headers.get("x-tocsin-timestamp", "")
    if not timestamp.isdigit() or abs(int(timestamp) * 1000 - now_ms) > TOLERANCE_MS:
        return False
    return hmac.compare_digest(headers.get("x-tocsin-signature", ""), f"v1={sign(secret, timestamp, body)}")


PAGER = PagerType(
    "webhook", lambda c: Webhook(str(c["name"]), str(c["url"]), str(c["secret"])),
    ("name", "url", "secret"), ("name", "url", "secret"),
)  # fmt: skip
