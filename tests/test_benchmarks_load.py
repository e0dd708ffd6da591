"""benchmarks.load: the work of others between two snapshots, with no process of ours counted."""

from __future__ import annotations

import pytest

from benchmarks.load import Load, ProcessTime, Snapshot, busiest, family, other_work, parse_process, parse_ticks

ME = 100


def at(
    user: int, system: int, idle: int, *, softirq: int = 0, steal: int = 0, **processes: tuple[int, int, int, int]
) -> Snapshot:
    """Makes a snapshot. Each process is (id, parent, own ticks, ticks of ended children) by its name."""
    return Snapshot(
        (user, 0, system, idle, 0, 0, softirq, steal),
        {pid: ProcessTime(parent, name, own, children) for name, (pid, parent, own, children) in processes.items()},
    )


def test_idle_machine_has_no_other_work() -> None:
    load = other_work(at(0, 0, 0, me=(ME, 1, 0, 0)), at(5, 5, 990, me=(ME, 1, 10, 0)), ME)
    assert load == Load(0.0)
    assert not load.is_too_much


def test_our_processes_and_their_ended_children_are_no_other_work() -> None:
    before = at(0, 0, 0, me=(ME, 1, 0, 0), grape=(101, ME, 50, 0), wrk=(102, ME, 0, 0))
    # wrk has ended meanwhile: its ticks went to its parent. A grandchild came.
    after = at(700, 100, 200, me=(ME, 1, 0, 300), grape=(101, ME, 350, 0), node=(103, 101, 200, 0))
    assert other_work(before, after, ME) == Load(0.0)


def test_other_process_is_named_with_its_share_of_all_processors() -> None:
    before = at(0, 0, 0, me=(ME, 1, 0, 0), pytest=(7, 1, 40, 0), quiet=(8, 1, 5, 0))
    after = at(400, 100, 500, me=(ME, 1, 300, 0), pytest=(7, 1, 240, 0), quiet=(8, 1, 6, 0))
    load = other_work(before, after, ME)
    assert load.share == pytest.approx(0.201)
    assert load.culprits == ((7, "pytest", 0.2),)
    assert load.is_too_much
    assert str(load) == "other work took 20% of the machine: pytest (7) 20%"


def test_work_that_no_process_shows_counts() -> None:
    # Other containers and processes that began and ended meanwhile; and other guests of the host.
    load = other_work(at(0, 0, 0, me=(ME, 1, 0, 0)), at(300, 0, 500, steal=200, me=(ME, 1, 150, 0)), ME)
    assert load.share == pytest.approx(0.35)
    assert str(load) == "other work took 35% of the machine: other guests of the host 20%"


def test_interrupts_are_our_own_datagrams() -> None:
    load = other_work(at(0, 0, 0, me=(ME, 1, 0, 0)), at(300, 200, 300, softirq=200, me=(ME, 1, 500, 0)), ME)
    assert load == Load(0.0)


def test_threads_of_the_kernel_are_no_other_process() -> None:
    before = at(0, 0, 0, me=(ME, 1, 0, 0), ksoftirqd=(14, 2, 0, 0))
    after = at(200, 0, 500, softirq=300, me=(ME, 1, 200, 0), ksoftirqd=(14, 2, 300, 0))
    assert other_work(before, after, ME) == Load(0.0)


def test_short_lived_children_of_others_count() -> None:
    before = at(0, 0, 0, me=(ME, 1, 0, 0), make=(7, 1, 0, 0), cc=(8, 7, 90, 0))
    after = at(300, 0, 700, me=(ME, 1, 0, 0), make=(7, 1, 0, 390))
    assert other_work(before, after, ME).share == pytest.approx(0.3)


def test_no_time_is_no_work() -> None:
    same = at(1, 1, 1, me=(ME, 1, 0, 0))
    assert other_work(same, same, ME) == Load(0.0)


def test_family_has_all_descendants() -> None:
    tree = {pid: ProcessTime(parent, "", 0, 0) for pid, parent in ((1, 0), (5, 1), (6, 5), (9, 6), (7, 1))}
    assert family(tree, 5) == {5, 6, 9}


def test_busiest_is_the_one_with_the_greatest_share() -> None:
    assert busiest([Load(0.1), Load(0.4), Load(0.2)]) == Load(0.4)
    assert busiest([]) == Load(0.0)


def test_parse_ticks_takes_the_line_of_all_processors_without_guests() -> None:
    assert parse_ticks("cpu  10 1 5 80 2 0 3 4 9 9\ncpu0 1 1 1 1\n") == (10, 1, 5, 80, 2, 0, 3, 4)
    # Linux before 2.6.11 has no steal.
    assert parse_ticks("cpu  10 1 5 80 2 0 3\n") == (10, 1, 5, 80, 2, 0, 3, 0)


def test_parse_process_takes_names_with_blanks_and_parentheses() -> None:
    text = "42 (a) b (c) S 7 1 1 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 1 0 100 1 1"
    assert parse_process(text) == ProcessTime(7, "a) b (c", 33, 77)
