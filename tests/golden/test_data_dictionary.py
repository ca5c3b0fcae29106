"""The data dictionary is the one that the code makes; `TOCSIN_BLESS=1` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.model.catalogue import METRICS
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.dictionary import dictionary, markdown
from tocsin.model.tables import QUARANTINE, TABLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "data-dictionary.md"


def test_page_is_made_from_the_code() -> None:
    """The page is fresh."""
    text = markdown(dictionary(DEFAULT_CUBES, {}))
    if os.environ.get("TOCSIN_BLESS") == "1":
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_everything_is_described() -> None:
    """Every readable table with every column, each with a meaning; every metric with a formula."""
    found = dictionary(DEFAULT_CUBES, {"minutes": 7})
    described = {table.name: [(column.name, column.type) for column in table.columns] for table in found.tables}
    assert described == {table.name: list(table.columns) for table in TABLES if table is not QUARANTINE}
    assert all(column.meaning for table in found.tables for column in table.columns)
    assert {metric.name for metric in found.metrics} == set(METRICS)
    assert all("s)" in text or "(" in text for metric in found.metrics for text in metric.formulas.values())
    assert {table.name: table.keep_days for table in found.tables}["minutes"] == 7
