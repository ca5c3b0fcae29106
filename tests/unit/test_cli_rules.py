"""`tocsin rules`: a file is read as alerting reads it, the first fault is one line, the schema is a valid one."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests import cli_support

RULES = cli_support.ROOT / "alerting" / "default_rules.yaml"


def test_the_shipped_rules_can_be_used(tmp_path: Path) -> None:
    """Without a file the shipped set is listed, a row a rule."""
    done = cli_support.run("rules", "check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [rule["name"] for rule in yaml.safe_load(RULES.read_text())["rules"]]
    assert [line.split()[0] for line in done.stdout.splitlines()[1:-1]] == names
    assert done.stdout.splitlines()[-1] == f"{len(names)} rules can be used"


def test_json_names_slices_and_windows(tmp_path: Path) -> None:
    """--json has what the rule watches."""
    file = tmp_path / "rules.yaml"
    file.write_text('- {name: stalls, metric: qoe.rebuffer.ratio, slices: [all, "cdn,device"], windows: [5]}\n')
    done = cli_support.run("rules", "check", "rules.yaml", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rules"] == [
        {
            "name": "stalls", "metric": "qoe.rebuffer.ratio", "kind": "week_over_week", "severity": "page",
            "slices": ["all", "cdn,device"], "windows": [5], "enabled": True,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: a, metric: qoe.sps, min_volum: 3}", "unknown key 'min_volum'; did you mean min_volume?"),
        ("- {name: a, metric: qoe.rebufer.ratio}", "did you mean qoe.rebuffer.ratio?"),
        ("- {name: a, metric: qoe.sps, slices: [cdm]}", "unknown tag 'cdm'; did you mean cdn?"),
        ("rules: 3", "want a list of rules"),
        ("a: [", "not YAML"),
        (None, "reading the rules rules.yaml: "),
    ],
)
def test_the_first_fault_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    """Status 2; the message names file, rule, value and the nearest known word."""
    if text is not None:
        (tmp_path / "rules.yaml").write_text(text)
    done = cli_support.run("rules", "check", "rules.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "rules.yaml" in done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_schema_takes_the_shipped_rules(tmp_path: Path) -> None:
    """What is printed is a valid JSON Schema that accepts the shipped set and refuses a misspelt key."""
    schema = json.loads(cli_support.run("rules", "schema", cwd=tmp_path).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(RULES.read_text()))
    assert not validator.is_valid([{"name": "a", "metric": "qoe.sps", "min_volum": 3}])
