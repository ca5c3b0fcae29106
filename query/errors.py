"""Errors of the query stage over HTTP: one JSON form, the status by whose fault it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tocsin.model.asl.errors import AslError, AslNotFoundError
from tocsin.model.errors import InputError, TocsinError, UnavailableError

_RETRY_AFTER_S = "5"


def error_response(error: TocsinError) -> Response:
    """The answer for an error: what was wrong, and for expressions the token and its position."""
    body: dict[str, Any] = {"type": "error", "message": str(error)}
    if isinstance(error, AslError) and error.token is not None:
        body["token"] = error.token
        if error.position is not None:
            body["position"] = error.position
    if isinstance(error, AslNotFoundError):
        return JSONResponse(body, status_code=404)
    if isinstance(error, InputError):
        return JSONResponse(body, status_code=400)
    if isinstance(error, UnavailableError):
        return JSONResponse(body, status_code=503, headers={"Retry-After": _RETRY_AFTER_S})
    return JSONResponse(body, status_code=500)


class ErrorRoute(APIRoute):
    """A route whose errors are answered in the one form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with errors caught."""
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except TocsinError as error:
                return error_response(error)
            except RequestValidationError as error:
                parts = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
                return JSONResponse({"type": "error", "message": f"invalid request: {parts}"}, status_code=400)

        return handle_errors
