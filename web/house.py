"""The house as the web sees it: the parts below, handed in by the composition root."""

import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from ingest.folder import LibraryFolder
from ingest.inbox import Inbox
from ingest.landing import Landing
from ingest.pipeline import Pipeline
from ingest.rendering import Renderer
from ingest.upkeep import Upkeep
from ingest.verification import Verification
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.excerpts import Excerpts
from library.holdings import Holdings
from library.jobs import Jobs
from library.values import DocumentState
from llm.answering.answer import Answerer
from llm.engines.model_state import ModelState
from llm.model_files.registry import Registry
from llm.serving.models import Models
from llm.serving.response_cache import ResponseCache
from search.earlier import EarlierLexicalIndex
from search.embedder import LazyEmbedder
from search.lexical import LexicalIndex
from search.meaning import Meaning
from search.precedence import Precedence
from search.retriever import Retriever
from search.suggestions import Suggestions
from search.vectors import VectorIndex
from search.words import Words
from web.leaving import Closing
from web.metrics import Metrics
from web.words import counted

# Of the default model: it answers, or will when it is asked, or there is none.
_SETTLED = frozenset({ModelState.READY, ModelState.ABSENT, ModelState.DRAINING, ModelState.UNLOADED})


class House(msgspec.Struct, frozen=True):
    version: str
    started_at: datetime
    library_folder: Path
    host_names: tuple[str, ...]
    cors_origins: tuple[str, ...]
    folder: LibraryFolder
    catalogue: Catalogue
    holdings: Holdings
    excerpts: Excerpts
    jobs: Jobs
    words: Words
    meaning: Meaning
    retriever: Retriever
    suggestions: Suggestions
    precedence: Precedence
    inbox: Inbox
    pipeline: Pipeline
    models: Models
    model_files: Registry
    answerer: Answerer
    response_cache: ResponseCache
    landing: Landing
    renderer: Renderer
    verification: Verification
    upkeep: Upkeep
    verifying: threading.Lock
    closing: Closing
    metrics: Metrics

    @property
    def lexical(self) -> LexicalIndex | EarlierLexicalIndex:
        return self.words.serving.lexical

    @property
    def vectors(self) -> VectorIndex:
        return self.meaning.serving.vectors

    @property
    def embedder(self) -> LazyEmbedder:
        return self.meaning.serving.embedder

    @property
    def revision(self) -> str:
        """What searches and answers are made from: another text after every change of it."""
        return f"{self.catalogue.revision} {self.words.serving.generation} {self.meaning.serving.generation}"

    def lacking(self) -> list[str]:
        """What /readyz waits for: sentences, none when the house is ready."""
        lacking = []
        if not self.embedder.ready:
            lacking.append(self.embedder.error or "The embedding model is being loaded.")
        if self.models.default.state not in _SETTLED:
            lacking.append(self.models.default.reason or "The chat model is being loaded.")
        lacking += self.upkeep.troubles()
        if not self.inbox.scanned.is_set():
            lacking.append("The library folder is being looked through.")
        elif not self.inbox.alive:
            lacking.append("New files are no longer taken in. Restart Almanac, and report its log.")
        return lacking

    def notices(self) -> list[str]:
        """What a reader should know before trusting an empty result: sentences."""
        return [*self.troubles(), *self._still_to_come()]

    def troubles(self) -> list[str]:
        """What is not as it should be: sentences."""
        notices = [trouble for trouble in (self.inbox.trouble, self.pipeline.trouble) if trouble]
        notices += self.upkeep.troubles()
        if self.embedder.error:
            notices.append(f"Search goes by words only. {self.embedder.error}")
        if self.retriever.reranker is not None and self.retriever.reranker.error:
            notices.append(f"Passages are not read a second time. {self.retriever.reranker.error}")
        with suppress(IndexUnavailable):  # of which the upkeep tells
            if trouble := self.vectors.state().trouble:
                notices.append(trouble)
        model = self.models.default
        if model.state is ModelState.ABSENT:
            notices.append(f"{model.reason} Answers are quotations from the library.")
        elif model.state not in _SETTLED or not self.models.comes_by_itself(model):
            reason = model.reason or "The chat model is still being loaded."
            notices.append(f"{reason} Until it is there, answers are quotations from the library.")
        return notices

    def _still_to_come(self) -> list[str]:
        notices, counts = [], self.catalogue.counts()
        to_read = counts[DocumentState.WAITING] + counts[DocumentState.READING] + self.inbox.unsettled
        if to_read:
            notices.append(f"{counted(to_read)} still to be read.")
        if counts[DocumentState.FINDABLE_WORDS]:
            when = "once ingest is resumed" if self.pipeline.paused else "soon"
            words_only = counted(counts[DocumentState.FINDABLE_WORDS])
            notices.append(f"{words_only} can be found by words already, by meaning {when}.")
        return notices
