"""Tocsin for analysts: `Client` and `AsyncClient` answer with pandas frames."""

from tocsin_client.client import AsyncClient, Client
from tocsin_client.exchange import TocsinError

__all__ = ["AsyncClient", "Client", "TocsinError"]
