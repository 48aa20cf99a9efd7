"""Upkeep: the indexes brought to what the record says, at the start and for as long as the house serves.

At the start, before anything is read: the words that an index lacks are added
from the record; the vectors are left to the embedding loop (`ingest.labelling`). Later,
every second: has an engine stumbled over its own files? Now and then: are the
files still those that it wrote? An index that is damaged is replaced by an
empty one at once, said to be so, and filled again.

Its hard rule: a suspicion is confirmed before anything is thrown away (a query
that an engine refuses is no damage), and what is damaged again and again is left
alone, since then it is the disk.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.indexes import Indexes
from ingest.labelling import Labelling
from ingest.moving import KIND
from ingest.pipeline import Pipeline
from ingest.reconcile import Seal
from ingest.refill import NotWhole, lacking, refill
from ingest.reindexing import Makers, Reindexer, What
from library.catalogue import Catalogue
from library.errors import AlmanacError, IndexUnavailable
from library.jobs import Jobs
from library.queue import Queue
from library.values import DocumentState
from search.earlier import EarlierLexicalIndex
from search.lexical import LexicalIndex
from search.soundness import VectorFiles

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_LOOK_EVERY_S = 10.0  # at names, sizes and dates of the files; what has another date is read
_QUIET_S = (
    60.0  # without a write, before the vectors' files are listed; reading them costs a second a gigabyte
)
_AGAIN_AFTER_S = 30.0  # when filling an index anew came to no end: a full disk, say
_MOST_REPAIRS, _WITHIN_S = 3, 3600.0

_UPGRADE = "This version of Almanac indexes words anew."

WORDS, VECTORS, BESIDE = "lexical", "vector", "vector beside"


class Upkeep:
    """Owns a thread. `begin` once, then `start`; `stop` once."""

    def __init__(
        self,
        queue: Queue,
        catalogue: Catalogue,
        jobs: Jobs,
        indexes: Indexes,
        pipeline: Pipeline,
        seal: Seal,
        labelling: Labelling,
        makers: Makers,
        folders: Callable[[], dict[str, Path]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folders` names those of the open indexes' seals: WORDS, VECTORS, and BESIDE while one is being built."""
        self._queue, self._catalogue, self._jobs, self._indexes = queue, catalogue, jobs, indexes
        self._pipeline, self._seal, self._labelling = pipeline, seal, labelling
        self._makers, self.folders, self._clock = makers, folders, clock
        self._stopping = threading.Event()
        self._repairs: dict[str, deque[float]] = {WORDS: deque(), VECTORS: deque()}
        self.given_up: dict[str, str] = {}  # side -> a sentence
        self._repairing: str | None = None  # the job of vectors that are computed again
        self._quiet: tuple[int, float] = (-1, 0.0)  # writes to the vectors, and since when it is so many
        self._again_at = 0.0
        self._looked_at, self._due = clock(), False
        self.reindexer = Reindexer(
            queue, jobs, indexes, pipeline, makers, on_change=self._renew_seal, stopping=self._stopping
        )
        self._thread = threading.Thread(target=self._loop, name="upkeep")

    def troubles(self) -> list[str]:
        """Sentences, while a search does not find all that it should."""
        told = [self._indexes.words.shortfall, self._indexes.meaning.shortfall]
        return list(self.given_up.values()) or [sentence for sentence in told if sentence]

    def begin(self) -> None:
        """Bring the indexes to what the record says. Raises AlmanacError and OSError; what is there serves."""
        words, meaning = self._indexes.words, self._indexes.meaning
        folders = self.folders()
        if isinstance(words.serving.lexical, LexicalIndex):
            self._fill_words(closely=not self._seal.is_whole(folders[WORDS]))
        elif words.building is not None:  # of an earlier version: nothing is read before its successor serves
            self.reindexer.adopt(None, cause=_UPGRADE)
            self.reindexer.work()
        if self._stopping.is_set():
            return
        if meaning.lost is not None:
            self._repairing = self._jobs.begin(KIND, f"The index of vectors is lost, since {meaning.lost}.")
        # The vectors' turn comes in the embedding loop: their index may be on a server that is away.
        self._labelling.on_done = self._renew_seal

    def start(self) -> None:
        self._thread.start()

    def interrupt(self) -> None:
        """Have `begin` return soon; what it was at is gone on with after the next start."""
        self._stopping.set()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Look at everything once; repair what is damaged. Raises AlmanacError and OSError."""
        self._due = self._is_due()
        self._look_at_words()
        self._look_at_vectors()
        self._note_repaired()

    # --- the thread --------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self.reindexer.work()
                self.look()
            except (AlmanacError, OSError) as error:
                log.warning("the indexes could not be seen to: %s", error)
            except Exception:  # the outermost loop of a thread: it must not end unseen
                log.exception("the indexes could not be seen to")

    def _is_due(self) -> bool:
        if self._clock() - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = self._clock()
        return True

    # --- words -------------------------------------------------------------------------------------

    def _look_at_words(self) -> None:
        words = self._indexes.words
        serving = words.serving
        if serving.lexical.damage is None and self._due:
            serving.lexical.damage = serving.files.trouble()
        if WORDS in self.given_up:
            return
        reason = None if serving.lexical.damage is None else self._confirmed_words()
        if reason is not None:
            self._replace_words(reason)
        elif words.lost is not None and self._clock() >= self._again_at:
            self._refill_words()  # an earlier attempt did not come to its end
        elif isinstance(serving.lexical, EarlierLexicalIndex) and self._clock() >= self._again_at:
            self._again_at = self._clock() + _AGAIN_AFTER_S
            self.reindexer.request(What.LEXICAL, cause=_UPGRADE)

    def _confirmed_words(self) -> str | None:
        """What is wrong with the serving index, if anything really is."""
        serving = self._indexes.words.serving
        suspicion, serving.lexical.damage = serving.lexical.damage, None
        trouble = serving.files.trouble()
        if trouble is not None:
            return f"its files were damaged while it served: {trouble}"
        try:
            serving.lexical.count()
            if isinstance(serving.lexical, LexicalIndex):
                serving.lexical.commit()
                serving.lexical.contains([(("a",), "none")])
        except IndexUnavailable:
            return serving.lexical.damage
        log.warning("the lexical index stumbled, and is sound: %s", suspicion)
        return None

    def _replace_words(self, reason: str) -> None:
        log.error("the lexical index is lost, and is built anew from the record: %s", reason)
        if self._has_too_many(WORDS, reason):
            return
        side = self._makers.new_words()
        words = self._indexes.words
        with self._indexes.changing:
            before, building = words.serving, words.building
            self._makers.note_words(side.generation, building.generation if building is not None else None)
            words.lost, words.share = reason, 0.0
            words.serving = side
        with suppress(IndexUnavailable):
            before.lexical.close()
        self._makers.remove_words(before)
        self._refill_words()

    def _refill_words(self) -> None:
        self._again_at = self._clock() + _AGAIN_AFTER_S
        self._fill_words(closely=False)
        self._renew_seal()
        self._pipeline.wake()

    def _fill_words(self, *, closely: bool) -> None:
        """Add to the serving index what it lacks; it says so meanwhile."""
        words = self._indexes.words
        index = words.serving.lexical
        if not isinstance(index, LexicalIndex):
            return
        documents = self._queue.all_indexed()
        missing = lacking(self._queue, index, documents, closely=closely)
        if not missing:
            words.lost = None
            return
        log.warning("the lexical index does not hold %d documents as it should; adding them", len(missing))
        words.share = 1 - len(missing) / len(documents)
        words.lost = words.lost or "it did not hold everything"

        def tell(share: float) -> None:
            words.share = share

        with self._jobs.run(KIND) as note:
            note.detail = f"Words are put back into their index, since {words.lost}; it is gone on with."
            try:
                is_whole = refill(
                    self._queue,
                    self._indexes,
                    index,
                    go_on=lambda: not self._stopping.is_set(),
                    on_share=tell,
                    closely=closely,
                )
            except NotWhole as error:
                raise IndexUnavailable(f"The index of words could not be filled: {error}.") from error
            if is_whole:
                note.detail = f"Words were put back into their index, since {words.lost}."
                words.lost = None

    # --- vectors -----------------------------------------------------------------------------------

    def _look_at_vectors(self) -> None:
        meaning = self._indexes.meaning
        vectors = meaning.serving.vectors
        if vectors.files is not None:
            self._seal_when_quiet(vectors.files)
            if vectors.damage is None and self._due:
                vectors.damage = vectors.files.trouble()
        if vectors.damage is not None and VECTORS not in self.given_up:
            reason = self._confirmed_vectors()
            if reason is not None:
                self._replace_vectors(reason)
        building = meaning.building
        if building is not None and building.vectors.damage is not None:
            self.reindexer.fail_vectors(
                f"The new index of vectors could not be built, since {building.vectors.damage}."
            )

    def _confirmed_vectors(self) -> str | None:
        serving = self._indexes.meaning.serving
        suspicion, serving.vectors.damage = serving.vectors.damage, None
        if serving.vectors.files is None:
            return None
        trouble = serving.vectors.files.trouble()
        if trouble is not None:
            return f"its files were damaged while it served: {trouble}"
        try:
            size = serving.embedder.dimensions
            serving.vectors.search([size**-0.5] * size, limit=10)
            serving.vectors.remove([str(uuid.uuid4())])
        except IndexUnavailable:
            return serving.vectors.damage
        log.warning("the vector index stumbled, and is sound: %s", suspicion)
        return None

    def _replace_vectors(self, reason: str) -> None:
        log.error("the vector index is lost; everything is embedded again: %s", reason)
        if self._has_too_many(VECTORS, reason):
            return
        side = self._makers.new_vectors()
        with self._indexes.changing:
            self._makers.note_vectors(side.generation)
            before = self._indexes.meaning.begin_anew(side, reason)
            self._pipeline.serve_vectors(side)
        self._repairing = self._repairing or self._jobs.begin(
            KIND, f"The index of vectors is lost, since {reason}."
        )
        self._renew_seal()
        self._pipeline.wake()
        with suppress(IndexUnavailable):
            before.vectors.erase()
        self._makers.remove_vectors(before)

    def _note_repaired(self) -> None:
        """Say no more that vectors were lost when all of them are there again."""
        meaning = self._indexes.meaning
        # Of documents whose file is missing, vectors are computed when it comes back.
        if meaning.lost is not None and not self._catalogue.counts()[DocumentState.FINDABLE_WORDS]:
            meaning.lost = None
        if meaning.lost is None and self._repairing is not None:
            self._jobs.end(self._repairing, "done", "A new index of vectors serves.")
            self._repairing = None

    def _seal_when_quiet(self, files: VectorFiles) -> None:
        if self._quiet[0] != files.writes:
            self._quiet = (files.writes, self._clock())
        elif self._clock() - self._quiet[1] >= _QUIET_S:
            files.seal()

    # --- both --------------------------------------------------------------------------------------

    def _has_too_many(self, side: str, reason: str) -> bool:
        now, repairs = self._clock(), self._repairs[side]
        while repairs and now - repairs[0] > _WITHIN_S:
            repairs.popleft()
        if len(repairs) >= _MOST_REPAIRS:
            of_what = "words" if side == WORDS else "vectors"
            self.given_up[side] = (
                f"The index of {of_what} was damaged {_MOST_REPAIRS + 1} times within an hour ({reason}) and is "
                "left alone now. Check the disk, then restart Almanac."
            )
            return True
        repairs.append(now)
        return False

    def _renew_seal(self) -> None:
        if not self._labelling.done:
            return  # the vectors have not been looked at since the start
        try:
            self._seal.renew()
        except OSError as error:
            log.warning("the indexes could not be sealed: %s", error)  # the next start looks closely
