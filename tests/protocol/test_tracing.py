"""W3C Trace Context, section 3.2: which trace a request belongs to, or none."""

import pytest

from issuer.protocol.tracing import parse_trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

CASES = {
    "a traceparent of version 00": (f"00-{TRACE}-{SPAN}-01", TRACE),
    "not sampled is a trace, too": (f"00-{TRACE}-{SPAN}-00", TRACE),
    "a later version begins the same way": (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", TRACE),
    "a later version without more": (f"cc-{TRACE}-{SPAN}-01", TRACE),
    "a later version with more, but no dash": (f"cc-{TRACE}-{SPAN}-01.what", None),
    "version 00 with more": (f"00-{TRACE}-{SPAN}-01-x", None),
    "version ff is forbidden": (f"ff-{TRACE}-{SPAN}-01", None),
    "no trace id": (f"00-{'0' * 32}-{SPAN}-01", None),
    "no parent id": (f"00-{TRACE}-{'0' * 16}-01", None),
    "upper case": (f"00-{TRACE.upper()}-{SPAN}-01", None),
    "too short": (f"00-{TRACE[1:]}-{SPAN}-01", None),
    "empty": ("", None),
    "a secret in the wrong place": ("isk1_abc", None),
}


@pytest.mark.parametrize(("header", "expected"), CASES.values(), ids=CASES.keys())
def test_3_2(header: str, expected: str | None) -> None:
    assert parse_trace_id(header.encode()) == expected
