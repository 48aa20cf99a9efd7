"""The registry: every model file in the models folder, with what it is and whether it can be used.

Knows no engine and loads nothing. Its hard rule: no file, however broken, keeps
another from being listed; what cannot be used says why in a sentence. A look
costs a `stat` for each file: only what is new or has changed is read, and of
that only the header.
"""

import enum
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from library.errors import Busy, ModelFileInvalid, ModelNotFound
from llm.model_files.card import PART, SERVED, Kind, ModelCard, inspect, part_files
from llm.model_files.digests import Digests
from llm.model_files.eyes import Eyes, eyes_of
from llm.model_files.footprint import Slots, Verdict, footprint, verdict
from llm.model_files.free_memory import free_memory

log = logging.getLogger(__name__)


class ModelFileState(enum.StrEnum):
    REGISTERED = "registered"
    UNUSABLE = "unusable"


class ModelFile(msgspec.Struct, frozen=True):
    """One model in the folder: a file, or the first of its parts."""

    id: str  # the file's name without .gguf: what requests call the model
    path: str  # below the models folder, as it can be shown
    file: Path
    state: ModelFileState
    reason: str | None  # a sentence where it is unusable
    card: ModelCard | None  # None where it is unusable
    size_bytes: int
    modified_ns: int

    @property
    def files(self) -> list[Path]:
        return part_files(self.file, self.card.parts if self.card else 1)


class Changes(msgspec.Struct, frozen=True):
    """What a look found: paths below the models folder."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


# size, time and number of each file that a model is made of
_Seen = tuple[tuple[int, int, int], ...]


class Registry:
    """All methods may be called from any thread."""

    def __init__(
        self, folder: Path, digests: Digests | None = None, slots: Callable[[str], Slots] | None = None
    ) -> None:
        """`slots` tells how the model of a name is to be loaded."""
        self.folder = folder
        self._slots = slots or (lambda _: Slots())
        self._digests = digests or Digests()
        self._looking = threading.Lock()
        self._comparing = threading.Lock()
        self._seen: dict[Path, tuple[_Seen, ModelFile]] = {}
        self._looked = False

    def look(self) -> Changes:
        """Look through the folder and everything below it, and tell what is new, different or gone."""
        with self._looking:
            before, now = self._seen, dict[Path, tuple[_Seen, ModelFile]]()
            for file, others in _models(self.folder):
                seen = _seen((file, *others))
                known = before.get(file)
                now[file] = known if known and known[0] == seen else (seen, self._registered(file))
            self._seen = now
        changes = Changes(
            added=_paths(now[file][1] for file in now.keys() - before.keys()),
            changed=_paths(
                now[file][1] for file in now.keys() & before.keys() if now[file] is not before[file]
            ),
            removed=_paths(before[file][1] for file in before.keys() - now.keys()),
        )
        # What was there at the first look is no news.
        for path in changes.added + changes.changed if self._looked else ():
            log.info("Model file %s was noticed.", path)
        for path in changes.removed:
            log.info("Model file %s is gone.", path)
        self._looked = True
        return changes

    def files(self) -> list[ModelFile]:
        """All of them as the last look found them, by path."""
        return sorted((model for _, model in self._seen.values()), key=lambda model: model.path)

    def find(self, name: str) -> ModelFile:
        """By id, or by path below the folder. Raises ModelNotFound."""
        files = self.files()
        for called in ("path", "id"):
            for model in files:
                if getattr(model, called) in {name, name.removesuffix(".gguf")}:
                    return model
        raise ModelNotFound(name, tuple(model.id for model in files))

    def of_file(self, file: Path) -> ModelFile:
        """One by its file, which may lie elsewhere, or be gone."""
        known = next((model for model in self.files() if model.file == file), None)
        return known or self._registered(file)

    def of_kind(self, kind: Kind) -> list[ModelFile]:
        """Those of one kind; those of the default engine first, then those with a template, by path."""
        found = [model for model in self.files() if model.card and model.card.kind is kind]
        return sorted(found, key=lambda model: model.card.order if model.card else (True, True))

    def chat_models(self) -> list[ModelFile]:
        """Those that can be chatted with, as `of_kind` sorts them."""
        return self.of_kind(Kind.CHAT)

    def served_models(self) -> list[ModelFile]:
        """Those that can be asked, in whichever way: chat models first."""
        return [model for kind in SERVED for model in self.of_kind(kind)]

    def eyes(self, file: Path) -> Eyes:
        """What the model of that file sees with, by what lies beside it in the models folder."""
        files = self.files()
        known = next((model for model in files if model.file == file), None)
        return Eyes() if known is None else eyes_of(known, files)

    def slots_of(self, file: Path) -> Slots:
        return self._slots(model_id(file))

    def estimate(
        self, file: Path, card: ModelCard, *, loaded: bool = False, eyes: Eyes | None = None
    ) -> Verdict:
        """Whether it would fit, with its eyes, beside what runs now; of a `loaded` model, only what it needs."""
        needs = footprint(card, self.slots_of(file), eyes.card if eyes else None)
        return verdict(needs, None if loaded else free_memory())

    def digest(self, model: ModelFile) -> str:
        """SHA-256 of the model's files, one after the other; read if need be. Raises as `Digests.take`."""
        return self._digests.take(model.files)

    def known_digest(self, model: ModelFile) -> str | None:
        """The same if it was taken already."""
        return self._digests.known(model.files)

    def duplicates(self) -> dict[str, str]:
        """By path: the path of the first file with the same content, as far as digests are known."""
        first, found = dict[str, str](), dict[str, str]()
        for model in self.files():
            digest = self.known_digest(model) if model.card else None
            if digest and (same := first.setdefault(digest, model.path)) != model.path:
                found[model.path] = same
        return found

    def compare(self) -> None:
        """Take the digests that are needed to find duplicates: of models of the same size. May take minutes."""
        sizes = dict[int, list[ModelFile]]()
        for model in self.files():
            if model.card:
                sizes.setdefault(model.card.size_bytes, []).append(model)
        for same in sizes.values():
            for model in same if len(same) > 1 else ():
                try:
                    self.digest(model)
                except (ModelFileInvalid, Busy) as error:
                    log.info("%s", error)

    def compare_in_background(self) -> None:
        """The same in a thread, unless one is at it."""
        if self._comparing.acquire(blocking=False):
            threading.Thread(target=self._compare_once, name="comparing models", daemon=True).start()

    def _compare_once(self) -> None:
        try:
            self.compare()
        finally:
            self._comparing.release()

    def _registered(self, file: Path) -> ModelFile:
        card, reason = None, None
        try:
            card = inspect(file)
        except ModelFileInvalid as error:
            reason = str(error)
        sizes = _seen((file,))
        size_bytes, modified_ns, _ = sizes[0] if sizes else (0, 0, 0)
        return ModelFile(
            id=model_id(file),
            path=_shown(str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)),
            file=file,
            state=ModelFileState.REGISTERED if card else ModelFileState.UNUSABLE,
            reason=reason,
            card=card,
            size_bytes=card.size_bytes if card else size_bytes,
            modified_ns=modified_ns,
        )


def _models(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every model below the folder: its first file, and the other parts beside it."""
    for file, beside in _gguf_files(folder):
        named = PART.fullmatch(file.name)
        if named is None:
            yield file, []
            continue
        parts = [other for other in beside if _is_part_of(other, named["stem"], named["parts"])]
        # A part whose first is missing is shown, since nothing else would tell of it.
        if int(named["part"]) == 1 or not any(PART.fullmatch(p.name)["part"] == "00001" for p in parts):  # type: ignore[index]
            yield file, parts


def _is_part_of(file: Path, stem: str, parts: str) -> bool:
    named = PART.fullmatch(file.name)
    return named is not None and (named["stem"], named["parts"]) == (stem, parts)


def _gguf_files(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each .gguf file with all of those in its folder. Links are followed, but never in a circle."""
    been = set[tuple[int, int]]()
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        try:
            status = os.stat(root)  # noqa: PTH116 - os.walk speaks strings
        except OSError:
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in been:
            folders.clear()
            continue
        been.add((status.st_dev, status.st_ino))
        files = [
            Path(root, name) for name in sorted(names) if name.lower().endswith(".gguf") and name[0] != "."
        ]
        for file in files:
            yield file, files


def _seen(files: tuple[Path, ...]) -> _Seen:
    """What changes when a file is written; a file that cannot be asked is left out."""
    seen = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        seen.append((status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(seen)


def _paths(models: Iterator[ModelFile]) -> tuple[str, ...]:
    return tuple(sorted(model.path for model in models))


def model_id(file: Path) -> str:
    """What requests call the model of a file."""
    return _shown(file.stem)


def _shown(name: str) -> str:
    """A file's name may be no text at all, or speak to the terminal; what is shown does neither."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
