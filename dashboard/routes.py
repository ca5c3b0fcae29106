"""The page at `/`: static files and the plotly package's own plotly.min.js; no network beyond this server."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("app.js", "charts.js", "dom.js", "explain.js", "server.js")
FILES = {**dict.fromkeys(SCRIPTS, "text/javascript"), "style.css": "text/css"}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Plotly writes its own style element, hence 'unsafe-inline' for styles; scripts come from this server's files only."""

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def router() -> APIRouter:
    """Routes `/` and `/static/…`."""
    routes = APIRouter(include_in_schema=False)
    plotly = Path(str(importlib.resources.files("plotly"))) / "package_data" / "plotly.min.js"

    @routes.get("/")
    @routes.get("/incidents/{_incident}")
    def page(_incident: str = "") -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html", headers=_HEADERS)

    @routes.get("/static/plotly.min.js")
    def chart_library() -> FileResponse:
        return FileResponse(plotly, media_type="text/javascript", headers={"cache-control": "max-age=86400"})

    for name, media_type in FILES.items():

        def serve(name: str = name, media_type: str = media_type) -> FileResponse:
            return FileResponse(STATIC / name, media_type=media_type, headers=_HEADERS)

        routes.add_api_route(f"/static/{name}", serve, methods=["GET"], response_class=FileResponse)
    return routes
