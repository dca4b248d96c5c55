"""The form reader of the hot path is the standard library's, only faster."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from issuer.failures import Failure, Refusal
from issuer.protocol.request import MAX_PARAMETERS, _pairs

PIECES = st.lists(
    st.sampled_from(["a", "scope", "=", "&", "+", "%", "%2", "%41", "%c3%a9", "%c3", "é", "%00", ";", " "]), max_size=24
)


@given(PIECES.map("".join))
@example("a=b=c&&=x&y&z=&%61=%2B+%26")
def test_it_reads_what_parse_qsl_reads(form: str) -> None:
    try:
        wanted = parse_qsl(form, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(Refusal) as refused:
            _pairs(form.encode())
        assert refused.value.failure is Failure.PARAMETER_ENCODING
    else:
        assert _pairs(form.encode()) == wanted


@pytest.mark.parametrize(("count", "good"), [(MAX_PARAMETERS, True), (MAX_PARAMETERS + 1, False)])
def test_the_number_of_parameters_is_bounded(count: int, *, good: bool) -> None:
    form = "&".join(f"p{number}=x" for number in range(count)).encode()
    if good:
        assert len(_pairs(form)) == count
    else:
        with pytest.raises(Refusal) as refused:
            _pairs(form)
        assert refused.value.failure is Failure.TOO_MANY_PARAMETERS
