"""Tests grape.testing.simulations and the command of grape.testing.scenarios."""

from __future__ import annotations

import pytest

from grape.testing.scenarios import EPILOG, SCENARIOS, main
from grape.testing.simulations import churn, partition


def test_churn_replaces_nodes_and_services_are_found() -> None:
    outcome = churn("churn", half_life=60, nodes=20, seconds=120)(1)
    assert outcome.lookups == 60
    assert outcome.found >= 57
    assert 0.2 < outcome.churn < 0.8


def test_partition_heals_and_both_sides_find_everything() -> None:
    outcome = partition("partition", nodes=20)(1)
    assert outcome.found == outcome.lookups == 300


def test_command_prints_a_row_for_each_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    main(["calm", "rough", "--seeds", "1"])
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:3] == ["scenario", "nodes", "loss"]
    assert [line.split()[0] for line in out[1:]] == ["calm", "rough"]
    assert "100.00%" in out[1]


def test_command_help_describes_every_scenario() -> None:
    described = [line.split()[0] for line in EPILOG.partition("columns:")[0].splitlines()[1:] if line]
    assert described == list(SCENARIOS)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["storm"], "there is no scenario 'storm'; choose from calm, loss"),
        (["--seeds", "0"], "--seeds takes 1 or more"),
    ],
)
def test_command_refuses_wrong_words(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err
