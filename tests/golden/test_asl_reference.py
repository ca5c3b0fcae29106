"""The reference page of the stack language is the one that its entries make; `TOCSIN_BLESS=1` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.model.asl.reference import markdown
from tocsin.model.asl.words import TOCSIN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "stack-language.md"


def test_page_is_made_from_the_entries() -> None:
    """Every word, as it is, stands on the page."""
    text = markdown(TOCSIN)
    if os.environ.get("TOCSIN_BLESS") == "1":
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
    assert PAGE.read_text() == text
    assert all(f"| `:{name}` |" in text for name in TOCSIN.names)
