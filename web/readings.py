"""Readings: how the house is, in figures, read from its parts when `GET /metrics` asks.

Nothing is kept between two scrapes. A new reading is a function in
`_READINGS`. Its hard rules are those of `web.metrics`; and a part that cannot
be read at the moment is left out, while the others are told.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from ingest.index_health import IndexHealth, IndexState, vector_health, words_health
from ingest.upkeep import VECTORS, WORDS
from library.errors import AlmanacError
from llm.engines.model_state import ModelState
from web.house import House

_TEXT_FORMAT = "text/plain; version=0.0.4"  # the charset is added


@get("/metrics", sync_to_thread=True)
def metrics(state: State) -> Response[bytes]:
    """What happened and how it is, in Prometheus' text format."""
    house: House = state.house
    text = generate_latest(house.metrics.registry) + generate_latest(_Readings(house))
    return Response(text, media_type=_TEXT_FORMAT, headers={"cache-control": "no-store"})


class _Readings(Collector):
    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterable[Metric]:
        for reading in _READINGS:
            with suppress(AlmanacError, OSError):  # of which /status tells
                yield from list(reading(self._house))


def _build(house: House) -> Iterator[Metric]:
    yield InfoMetricFamily("almanac_build", "Which Almanac this is.", {"version": house.version})
    yield GaugeMetricFamily("almanac_ready", "1 when /readyz says so.", not house.lacking())


def _model(house: House) -> Iterator[Metric]:
    yield _by(
        "almanac_model_state",
        "1 for the state that a chat model is in, of those that were asked for.",
        ("model", "state"),
        (
            ((model.id or "", state.value), float(state is model.state))
            for model in house.models.served()
            for state in ModelState
        ),
    )


def _cache(house: House) -> Iterator[Metric]:
    figures = house.response_cache.figures()
    yield CounterMetricFamily("almanac_cache_hits", "Repeatable requests answered from memory.", figures.hits)
    yield CounterMetricFamily("almanac_cache_misses", "Repeatable requests that were not.", figures.misses)
    yield GaugeMetricFamily("almanac_cache_entries", "Answers kept.", figures.entries)
    yield GaugeMetricFamily("almanac_cache_bytes", "What they take of the memory.", figures.bytes)


def _ingest(house: House) -> Iterator[Metric]:
    progress = house.pipeline.progress()
    yield _by(
        "almanac_documents",
        "Documents by state.",
        ("state",),
        (((state.value,), count) for state, count in progress.documents.items()),
    )
    yield _by(
        "almanac_ingest_queue",
        "What waits: files noticed and not received, documents to read, documents to embed.",
        ("step",),
        (
            (("receive",), house.inbox.unsettled),
            (("read",), progress.to_read),
            (("embed",), progress.to_embed),
        ),
    )
    yield GaugeMetricFamily(
        "almanac_ingest_paused", "1 while a reader wants no work to be done.", progress.paused
    )
    yield GaugeMetricFamily(
        "almanac_ingest_stalled", "1 while it stands still for another reason.", progress.trouble is not None
    )
    yield GaugeMetricFamily(
        "almanac_ingest_chunks_per_second",
        "Vectors a second over the last half minute; 0 while none are computed.",
        progress.chunks_per_s or 0,
    )
    yield CounterMetricFamily(
        "almanac_ingest_embedded_chunks", "Vectors that were added.", progress.embedded_since_start
    )


def _indexes(house: House) -> Iterator[Metric]:
    chunks, _ = house.catalogue.indexed_totals()
    yield GaugeMetricFamily("almanac_chunks", "Chunks of all indexed documents.", chunks)
    folders = house.upkeep.folders()
    health: dict[str, IndexHealth] = {
        WORDS: words_health(house.upkeep, house.words, folders[WORDS]),
        VECTORS: vector_health(house.upkeep, house.meaning, house.catalogue, folders[VECTORS]),
    }
    for name, says, figures in (
        ("entries", "Chunks, or vectors, that an index holds.", {k: v.entries for k, v in health.items()}),
        ("size_bytes", "What it takes on the disk.", {k: v.size_bytes for k, v in health.items()}),
    ):
        # None on a server, where the figure would cost a question to it.
        known = (((index,), figure) for index, figure in figures.items() if figure is not None)
        yield _by(f"almanac_index_{name}", says, ("index",), known)
    yield _by(
        "almanac_index_state",
        "1 for the state that an index is in.",
        ("index", "state"),
        (
            ((index, state.value), float(state is one.state))
            for index, one in health.items()
            for state in IndexState
        ),
    )


def _disk(house: House) -> Iterator[Metric]:
    free = shutil.disk_usage(house.library_folder).free
    yield GaugeMetricFamily("almanac_disk_free_bytes", "Free on the disk of the library folder.", free)


_READINGS: tuple[Callable[[House], Iterator[Metric]], ...] = (
    _build,
    _model,
    _cache,
    _ingest,
    _indexes,
    _disk,
)


def _by(
    name: str, documentation: str, labels: tuple[str, ...], figures: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, figure in figures:
        family.add_metric(values, figure)
    return family
