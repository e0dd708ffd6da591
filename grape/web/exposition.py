"""Declares ``/metrics``: the metrics of a grape, as Prometheus' text format or as OpenMetrics.

The grape counts plain integers; prometheus-client writes them down when it is asked to, and is loaded with the site.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from grape.metrics import Histogram
from grape.node.families import FAMILIES, Family
from grape.node.figures import Figures
from grape.web.answer import TEXT_TYPE, Answer
from grape.web.request import Request, Right
from grape.web.routes import Routes

_BOUNDS = [floatToGoString(bound) for bound in Histogram.bounds]


class Inspected(Protocol):
    """A node that tells its figures: ``grape.node.inspector.Inspector``."""

    def figures(self) -> Figures: ...


class Collector:
    """Collects the metrics of one node, for any registry of prometheus-client."""

    def __init__(self, inspected: Inspected) -> None:
        self._inspected = inspected

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of this moment; takes about a millisecond."""
        figures = self._inspected.figures()
        for family in FAMILIES:
            yield _metric(family, figures)


class Exposition:
    """The route that tells the metrics of a node, and of its process; ``grape.resource`` mounts it."""

    route: ClassVar[Routes[Exposition]] = Routes()

    def __init__(self, inspected: Inspected) -> None:
        # One of its own: several grapes may run in one process, and the program may have metrics of its own.
        self._registry = registry = CollectorRegistry()
        registry.register(Collector(inspected))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    @route.get(
        "/metrics",
        "Tells Prometheus the metrics of the grape and its process.",
        Right.INSPECT,
        schema=lambda schemas: {"type": "string"},
        media_type=TEXT_TYPE,
    )
    def metrics(self, request: Request) -> Answer:
        """Answers in the format that the request accepts; in the text format if it accepts none of them."""
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # prometheus-client 0.26 fails at a version that is no number.
            encode, content_type = choose_encoder("")
        return Answer(200, encode(self._registry), content_type.encode())


def _metric(family: Family, figures: Figures) -> Metric:
    name, text, labels = family.name, family.help, family.labels
    if family.kind == "info":
        ((values, _),) = family.samples(figures)
        return InfoMetricFamily(name.removesuffix("_info"), text, value=dict(zip(labels, values, strict=True)))
    if family.kind == "histogram":
        histograms = HistogramMetricFamily(name, text, labels=labels)
        for values, histogram in family.samples(figures):
            assert isinstance(histogram, Histogram)
            buckets = [*zip(_BOUNDS, histogram.cumulative, strict=True), ("+Inf", histogram.count)]
            histograms.add_metric(values, buckets, histogram.sum)
        return histograms
    numbers = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
    for values, number in family.samples(figures):
        assert not isinstance(number, Histogram)
        numbers.add_metric(values, number)
    return numbers
