"""What the query of an administrative request may say, read in one place. Every reader raises Fault (400)."""

from typing import Any

from starlette.requests import Request

from issuer.administration.preconditions import Driver
from issuer.model.faults import Fault, Reason

_SWITCHES = {"true": True, "1": True, "false": False, "0": False}


def dry_run(request: Request) -> bool:
    """Whether nothing is to be written."""
    value = request.query_params.get("dryRun")
    if value not in {None, "All"}:  # an empty one, too: whoever names it does not want a write
        raise Fault(Reason.BAD_REQUEST, "dryRun must be All")
    return value == "All"


def dry_run_option(options: Any) -> bool:
    """`dryRun` in a DeleteOptions body: client-go sends it there, and what it asked to be spared must not be deleted."""
    value = options.get("dryRun") if isinstance(options, dict) else None
    if value not in (None, [], ["All"]):
        raise Fault(Reason.BAD_REQUEST, 'dryRun must be ["All"]')
    return value == ["All"]


def driver(request: Request) -> Driver:
    """Which driver says it is asking."""
    query = request.query_params
    return Driver(managed_by=query.get("managedBy"), force=switch(query.get("force"), "force"))


def switch(text: str | None, name: str) -> bool:
    """Whether it is on; off when it is not there. `True` is how Python's clients write it."""
    if text is None:
        return False
    if text.lower() not in _SWITCHES:
        raise Fault(Reason.BAD_REQUEST, f"{name} must be true or false")
    return _SWITCHES[text.lower()]


def whole_number(text: str | None, name: str, digits: int = 9) -> int | None:
    """The number, None when there is none."""
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > digits:
        raise Fault(Reason.BAD_REQUEST, f"{name} must be a whole number")
    return int(text)
