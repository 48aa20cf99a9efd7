"""Metrics: what happened, counted while it happens, for `GET /metrics`.

What can be read when somebody asks is not counted here but in `web.readings`.
A new metric of events is an instrument in `__init__` and a method that says
what happened; whoever knows of it is handed that method by the composition
root, and knows nothing of metrics.

Its hard rules: a registry of its own, so that nothing is process-wide, and no
thread; a label takes one of few values known beforehand, never a word of a
reader's: no path, query, title, file of the library, prompt or address.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from llm.engines.spoken import Spoken
from search.values import Mode

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0)
_SEARCH_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_FIRST_TOKEN_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_TOKENS_PER_S = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


class Metrics:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        # Else each series is told twice, the second time with its birth. The vendor keeps this choice process-wide.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "almanac_http_requests",
            "Requests answered, by route template, method and class of status; none: the client had left.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._request_s = Histogram(
            "almanac_http_request_duration_seconds",
            "From a request's first byte to its answer's last, by route template and method.",
            ("route", "method"),
            buckets=_REQUEST_S,
            registry=self.registry,
        )
        self._under_way = Gauge(
            "almanac_http_requests_in_progress",
            "Requests being answered, streams included.",
            registry=self.registry,
        )
        self._search_s = Histogram(
            "almanac_search_duration_seconds",
            "Searches that were answered, for pages, APIs and answers alike, by mode.",
            ("mode",),
            buckets=_SEARCH_S,
            registry=self.registry,
        )
        self._answers = Counter(
            "almanac_chat_answers",
            "Answers asked of a chat model, by how they ended.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._first_token_s = Histogram(
            "almanac_chat_first_token_seconds",
            "From asking the engine to its first token, for streamed answers.",
            ("model",),
            buckets=_FIRST_TOKEN_S,
            registry=self.registry,
        )
        self._tokens_per_s = Histogram(
            "almanac_chat_tokens_per_second",
            "Tokens a second of one answer, after its first.",
            ("model",),
            buckets=_TOKENS_PER_S,
            registry=self.registry,
        )
        self._tokens = Counter(
            "almanac_chat_tokens",
            "Tokens by kind: prompt, of these cached (not read again), completion.",
            ("model", "kind"),
            registry=self.registry,
        )

    def began(self) -> None:
        self._under_way.inc()

    def ended(self, route: str, method: str, status: int, took_s: float) -> None:
        """A request was answered; `status` 0 when nobody was there to be answered."""
        self._under_way.dec()
        class_ = f"{status // 100}xx" if status else "none"
        self._requests.labels(route, method, class_).inc()
        self._request_s.labels(route, method).observe(took_s)

    def searched(self, mode: Mode, took_s: float) -> None:
        self._search_s.labels(mode.value).observe(took_s)

    def spoken(self, spoken: Spoken) -> None:
        model = spoken.model
        self._answers.labels(model, spoken.outcome.value).inc()
        if spoken.first_token_s is not None:
            self._first_token_s.labels(model).observe(spoken.first_token_s)
        if spoken.tokens_per_s is not None:
            self._tokens_per_s.labels(model).observe(spoken.tokens_per_s)
        self._tokens.labels(model, "prompt").inc(spoken.prompt_tokens)
        self._tokens.labels(model, "cached").inc(spoken.cached_tokens)
        self._tokens.labels(model, "completion").inc(spoken.completion_tokens)
