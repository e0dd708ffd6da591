"""grape.web.answer: the form of a date."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from grape.web.answer import http_date


@given(st.datetimes(datetime(1_000, 1, 1), timezones=st.just(UTC)))
def test_http_date_is_that_of_the_standard_library(at: datetime) -> None:
    assert http_date(at) == format_datetime(at, usegmt=True).encode()
