"""httptools, which reads the requests, refuses heads that two servers would read differently: older releases do not.

Such a head smuggles a request past a proxy in front of the grape (CVE-2024-27982). The lowest version that setup.cfg
allows is the first that passes.
"""

from __future__ import annotations

import httptools
import pytest


@pytest.mark.parametrize("field", [b" Content-Length: 2", b"\tTransfer-Encoding: chunked"])
def test_httptools_refuses_a_field_that_begins_with_a_space(field: bytes) -> None:
    parser = httptools.HttpRequestParser(object())
    with pytest.raises(httptools.HttpParserError):
        parser.feed_data(b"POST /lookup HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n")
