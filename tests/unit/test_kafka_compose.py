"""The compose file follows the compose specification, and its parts fit one another."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from server_probe.registry import StreamRegistry
from tocsin.app.config import ENV_PREFIX, Config, load
from tocsin.app.gateway import settings_of

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")
ROLES = {"ingest", "jobs", "query", "alerting", "probe"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def validator() -> Any:
    """The compose specification's own schema, as the check-jsonschema package ships it."""
    package = metadata.distribution("check-jsonschema")
    file = package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    schema = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


def test_compose_file_follows_the_compose_schema(compose: dict[str, Any], validator: Any) -> None:
    """The compose specification's schema finds nothing to complain about."""
    assert [error.message for error in validator.iter_errors(compose)] == []


def test_compose_schema_refuses_a_misspelt_key(compose: dict[str, Any], validator: Any) -> None:
    """The check can fail: a service key that compose does not know is reported."""
    broken = compose | {"services": {"kafka": {"imagee": "x"}}}
    assert any("imagee" in error.message for error in validator.iter_errors(broken))


def test_every_role_and_neighbour_is_a_service(compose: dict[str, Any]) -> None:
    """Kafka, ClickHouse, each role, Prometheus and Alertmanager are there, and dependencies name services."""
    services = compose["services"]
    assert set(services) == ROLES | {"kafka", "clickhouse", "prometheus", "alertmanager"}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        if name in ROLES:
            assert service["command"] == [name]
            assert service["read_only"] is True


def test_every_role_is_configured_by_known_keys(compose: dict[str, Any]) -> None:
    """Each TOCSIN_ variable of a role is a configuration key."""
    for name in ROLES:
        keys = {key.removeprefix(ENV_PREFIX).lower() for key in compose["services"][name]["environment"]}
        assert keys <= set(Config.model_fields), name


def test_roles_that_meet_in_files_share_them(compose: dict[str, Any]) -> None:
    """Alerting and probe have one data folder and one list of streams, which can be read as it is."""
    services = compose["services"]
    assert services["alerting"]["volumes"] == services["probe"]["volumes"]
    environment = services["probe"]["environment"]
    mounts = dict(volume.split(":")[1::-1] for volume in services["probe"]["volumes"])
    assert StreamRegistry.from_csv((ROOT / mounts[environment["TOCSIN_STREAMS"]]).read_text()).ids() == []
    assert mounts[environment["TOCSIN_DATA"]] == "alerting-data"


def test_roles_that_ask_for_tokens_share_them(compose: dict[str, Any]) -> None:
    """A token that was made in one is known in all, and each has the service's own."""
    for name in ("query", "alerting", "probe"):
        service = compose["services"][name]
        assert "keys-data:/keys" in service["volumes"]
        assert Path(service["environment"]["TOCSIN_KEYS_DB"]).parent == Path("/keys")
        assert service["environment"]["TOCSIN_SERVICE_TOKEN"].startswith("${TOCSIN_SERVICE_TOKEN:?")


def test_roles_find_alerting(compose: dict[str, Any]) -> None:
    """Every role knows the alerting service by its name, and pages link to the port at which the page is published."""
    services = compose["services"]
    page = next(port for port in services["query"]["ports"] if port.endswith(":8080"))
    for name in ROLES:
        environment = services[name]["environment"]
        assert environment["TOCSIN_ALERTING_URL"] == "http://alerting:8080"
        assert environment["TOCSIN_PUBLIC_URL"] == f"http://{page.removesuffix(':8080')}"


def test_every_role_takes_its_environment(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that the file asks for, each role's configuration loads and the gateway may listen."""
    given = {"TOCSIN_CLICKHOUSE_PASSWORD": "secret", "TOCSIN_WRITE_KEY": "player-key"}
    for name in ROLES:
        with monkeypatch.context() as patched:
            for key, text in compose["services"][name]["environment"].items():
                patched.setenv(key, VARIABLE.sub(lambda found: given.get(found[1], found[2] or ""), str(text)))
            settings = settings_of(load())
        assert settings.host == "0.0.0.0"  # noqa: S104  inside its container
        assert [key.key for key in settings.keys] == ["player-key"]


def test_nothing_is_published_beyond_the_loopback_interface(compose: dict[str, Any]) -> None:
    """Every published port is bound to 127.0.0.1, and Kafka and ClickHouse publish none."""
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert "ports" not in compose["services"]["kafka"]
    assert "ports" not in compose["services"]["clickhouse"]


def test_mounted_configuration_exists_and_names_known_services(compose: dict[str, Any]) -> None:
    """Each bind-mounted file is in the repository; Prometheus scrapes every role."""
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":", 1)[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in compose["volumes"]
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"][0]
    assert set(scrape["dns_sd_configs"][0]["names"]) == ROLES
