"""Whether requests are traced: where the standard environment (`OTEL_…`) asks for it and the extra `otel` is installed.

Otherwise nothing of OpenTelemetry is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from issuer.settings import SettingsError

if TYPE_CHECKING:
    from issuer.observe.spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing(Enum):
    """What becomes of requests here: no spans are asked for, they are exported, or they are asked for in vain."""

    OFF = "off"
    ON = "on"
    NOT_INSTALLED = "not installed"


def tracing() -> Tracing:
    """What the environment asks for, and whether it gets it."""
    if not _is_wanted():
        return Tracing.OFF
    try:
        import issuer.observe.spans  # noqa: F401, PLC0415 - see above
    except ModuleNotFoundError:
        return Tracing.NOT_INSTALLED
    return Tracing.ON


def _is_wanted() -> bool:
    """An endpoint is enough, and so is naming the exporter. There is one: another than `otlp` is none."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter == "otlp" or (not exporter and any(os.environ.get(name) for name in _ENDPOINTS))


@contextmanager
def spans_exported() -> Iterator["Spans | None"]:
    """Spans of this process, flushed at the end of the block; None where there are to be none.

    A thread exports them: not to be held over a fork. Raises SettingsError.
    """
    if tracing() is not Tracing.ON:
        yield None
        return
    from issuer.observe.spans import exporting  # noqa: PLC0415 - see above

    try:
        spans = exporting()
    except ValueError as error:
        raise SettingsError(f"The environment (OTEL_…) cannot be used: {error}") from None
    try:
        yield spans
    finally:
        spans.close()
