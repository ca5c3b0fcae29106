"""Which scope each route of the query, alert and admin API needs: the one table that says so.

A test walks all routes of all roles against it; one that is not here takes an administrator. Heartbeats
and published points have write keys instead, which ship in players: they are valid on the gateway's own routes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal[
    "query:read", "alerts:read", "alerts:write", "silences:write", "rules:write", "probe:run", "keys:admin",
    "artwork:write",
]  # fmt: skip
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a token may be given. No route needs `rules:write` or `artwork:write` yet: rules are a file, and artwork is
published."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a route asks of a caller. `scope` None: nothing, it is open.

    `for_tenants`: a token that is bound to a tenant may use it, as all that it reads comes through `TenantSource`.
    `writes`: it changes something, so who did it is noted.
    """

    scope: Scope | None
    for_tenants: bool = False
    writes: bool = False


OPEN = Need(None)
"""No data of viewers: probes of life, Prometheus's figures of the process itself, the page's files, the API's text."""
READ = Need("query:read")
READ_OF_TENANT = Need("query:read", for_tenants=True)
ALERTS = Need("alerts:read")
ALERTS_WRITE = Need("alerts:write", writes=True)
SILENCES_WRITE = Need("silences:write", writes=True)
PROBE_RUN = Need("probe:run", writes=True)
KEYS_READ = Need("keys:admin")
KEYS_WRITE = Need("keys:admin", writes=True)
UNLISTED = KEYS_WRITE

NEEDS: dict[tuple[str, str], Need] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/oauth2-redirect"): OPEN,
    ("GET", "/redoc"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/incidents/{_incident}"): OPEN,
    ("GET", "/static/plotly.min.js"): OPEN,
    ("GET", "/static/app.js"): OPEN,
    ("GET", "/static/charts.js"): OPEN,
    ("GET", "/static/dom.js"): OPEN,
    ("GET", "/static/explain.js"): OPEN,
    ("GET", "/static/server.js"): OPEN,
    ("GET", "/static/style.css"): OPEN,
    ("GET", "/api/v1/graph"): READ_OF_TENANT,
    ("GET", "/api/v2/fetch"): READ_OF_TENANT,
    ("GET", "/api/v1/tags"): READ_OF_TENANT,
    ("GET", "/api/v1/tags/{key:path}"): READ_OF_TENANT,
    ("GET", "/api/v1/expr"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/debug"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/normalize"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/complete"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/queries"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/strip"): READ_OF_TENANT,
    ("GET", "/api/v1/expr/rewrite"): READ_OF_TENANT,
    ("GET", "/v1/dictionary"): READ_OF_TENANT,
    ("GET", "/v1/explain"): READ,
    ("POST", "/v1/sql"): READ,
    ("GET", "/v1/sessions/{session_id}"): READ,
    ("GET", "/v1/status"): READ,
    ("GET", "/v1/ledger"): READ,
    ("GET", "/v1/artwork"): READ,
    ("GET", "/v1/artwork/missing"): READ,
    ("GET", "/v1/rules"): ALERTS,
    ("GET", "/v1/rules/schema"): ALERTS,
    ("GET", "/v1/hints"): ALERTS,
    ("GET", "/v1/incidents"): ALERTS,
    ("GET", "/v1/incidents/{incident_id}"): ALERTS,
    ("GET", "/v1/silences"): ALERTS,
    ("GET", "/v1/events"): ALERTS,
    ("GET", "/v1/probes"): ALERTS,
    ("GET", "/v1/probes/{look_id}"): ALERTS,
    ("GET", "/v1/probes/{look_id}/frame.png"): ALERTS,
    ("POST", "/v1/incidents/{incident_id}/ack"): ALERTS_WRITE,
    ("POST", "/v1/incidents/{incident_id}/close"): ALERTS_WRITE,
    ("POST", "/v1/incidents/{incident_id}/verdicts"): ALERTS_WRITE,
    ("POST", "/v1/incidents/{incident_id}/actions"): ALERTS_WRITE,
    ("POST", "/v1/actions/{run_id}/approve"): ALERTS_WRITE,
    ("POST", "/v1/events"): ALERTS_WRITE,
    ("POST", "/v1/incidents/{incident_id}/silence"): SILENCES_WRITE,
    ("POST", "/v1/silences"): SILENCES_WRITE,
    ("DELETE", "/v1/silences/{silence_id}"): SILENCES_WRITE,
    ("POST", "/v1/probes"): PROBE_RUN,
    ("POST", "/v1/probes/{look_id}/judged"): PROBE_RUN,
    ("GET", "/v1/keys"): KEYS_READ,
    ("GET", "/v1/audit"): KEYS_READ,
    ("POST", "/v1/keys"): KEYS_WRITE,
    ("DELETE", "/v1/keys/{key_id}"): KEYS_WRITE,
}
"""(method, path as the route is declared) -> what it needs."""
