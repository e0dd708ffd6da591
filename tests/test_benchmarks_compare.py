"""benchmarks.compare: what a request costs in two checkouts, and how that is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare import judged, main
from benchmarks.figures import Cost


def costs(*totals: float) -> list[Cost]:
    return [Cost(total - 10, 10.0, 1e6 / total) for total in totals]


@pytest.mark.parametrize(
    ("before", "after", "is_within"),
    [
        ([60.0, 60.0, 60.0], [60.0, 60.0, 60.0], True),
        ([60.0, 60.0, 60.0], [61.7, 61.7, 61.7], True),
        ([60.0, 60.0, 60.0], [62.0, 62.0, 62.0], False),
        ([12.0, 12.0, 12.0], [12.9, 12.9, 12.9], True),
        ([12.0, 12.0, 12.0], [13.1, 13.1, 13.1], False),
    ],
    ids=["equal", "3 percent", "more than that", "a microsecond", "more than a microsecond"],
)
def test_judged_allows_three_percent_or_a_microsecond(before: list[float], after: list[float], is_within: bool) -> None:
    assert judged("ping", costs(*before), costs(*after))[1] is is_within


def test_judged_takes_the_median_of_the_rounds_own_differences() -> None:
    # The machine became slower from round to round; the change costs nothing.
    line, is_within = judged("ping", costs(10.0, 20.0, 30.0), costs(10.1, 20.1, 30.1))
    assert is_within
    assert "+0.10" in line


def test_main_refuses_a_directory_that_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 2
    assert "is no checkout" in capsys.readouterr().err
