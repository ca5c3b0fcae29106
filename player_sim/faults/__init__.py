"""What can go wrong in the simulated service: one file a fault, found here.

To add a fault: write a module in this folder with a subclass of `Fault` named in its `FAULT`. Nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from player_sim.faults.kinds import Cohort, Fault
from tocsin.model.errors import InputError

__all__ = ["FAULTS", "Cohort", "Fault", "make"]


def _found() -> dict[str, type[Fault]]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "kinds")
    classes: list[type[Fault]] = [importlib.import_module(f"{__name__}.{name}").FAULT for name in names]
    return {fault.kind: fault for fault in classes}


FAULTS: dict[str, type[Fault]] = _found()
"""Fault classes by kind."""


def make(kind: str, **parameters: Any) -> Fault:
    """A fault of a kind; an unknown kind or parameter is refused with the known ones."""
    if kind not in FAULTS:
        raise InputError(f"making a fault {kind!r}: known kinds are {', '.join(FAULTS)}")
    try:
        return FAULTS[kind](**parameters)
    except TypeError as error:
        known = ", ".join(FAULTS[kind].__dataclass_fields__)
        raise InputError(f"making a fault {kind!r} of {parameters}: {error}; its parameters are {known}") from error
