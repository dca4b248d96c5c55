"""Which trace a request belongs to (W3C Trace Context, Recommendation of 23 November 2021, section 3.2).

Only the id is taken, so that a token in the record is found from a trace and the other way round.
"""

import re

# version 00, and what later versions must still begin with (section 3.2.4); ff is forbidden.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:\Z|-)")
_NO_TRACE = b"0" * 32
_VERSION_00_BYTES = 55


def parse_trace_id(traceparent: bytes) -> str | None:
    """The trace id, 32 hexadecimal digits; None where the header is not as it must be, which is then as if it was absent."""
    found = _TRACEPARENT.match(traceparent)
    if found is None or found[1] == _NO_TRACE:
        return None
    if traceparent.startswith(b"00") and len(traceparent) != _VERSION_00_BYTES:
        return None
    return found[1].decode()
