"""Declares how figures are measured: the settings of a run, and groups of figures that are measured together.

Under 60 lines: figures and builds are below it, and it is below the modules that measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from benchmarks.builds import HERE, Build
from benchmarks.figures import Figure, Sample


@attrs.frozen
class Run:
    """Holds how the benchmarks are run.

    ``seconds`` is the length of one measurement, ``idle_seconds`` of the one of idle grapes; ``say(text)`` shows the
    progress; ``builds`` has what each side of ours runs, this checkout unless it is named.
    """

    rounds: int
    seconds: float
    idle_seconds: float
    say: Callable[[str], None]
    builds: Mapping[str, Build] = attrs.field(factory=dict)

    def build(self, side: str) -> Build:
        """Returns the build that a side of ours runs; for any other side the first build, as it makes no difference."""
        return self.builds.get(side) or next(iter(self.builds.values()), HERE)

    @property
    def warm_seconds(self) -> float:
        """How long a load runs, in seconds, before it is measured."""
        return self.seconds / 3


@attrs.frozen
class Group:
    """Declares figures that are measured together, and the ``tools`` that all of them need.

    ``measure(run, sides, measures)`` runs one round, the sides in turn, and yields a sample for each measure and side.
    """

    figures: Sequence[Figure]
    measure: Callable[[Run, Sequence[str], frozenset[str]], Iterable[Sample]]
    tools: Sequence[str] = ()
    max_rounds: int = 1_000
