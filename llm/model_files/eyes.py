"""Eyes: which projector (mmproj) belongs to which chat model, by the files that lie beside each other.

Pure: knows the cards of files, and opens none. The two are made for each other
and no header names the other, so a pair is told by its folder, by the width of
what the projector makes, and by names. Its hard rule: where two would do none
is used, and whoever looks is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from llm.model_files.card import CTRANSFORMERS, Kind, ModelCard

if TYPE_CHECKING:
    from llm.model_files.registry import ModelFile

# What a file's name says beside the model's: how its numbers are stored, and that it is a projector.
_STORED = re.compile(r"(?<![a-z0-9])(ud[-_])?(i?q\d\w*|tq\d\w*|b?fp?(16|32)|mxfp4\w*|nvfp4)(?![a-z0-9])")
_ASIDE = frozenset({"mmproj", "model", "ggml", "gguf"})


class Eyes(msgspec.Struct, frozen=True):
    """What a chat model sees with, or why it sees nothing although something lies there."""

    projector: ModelFile | None = None
    trouble: str | None = None  # a sentence

    @property
    def see(self) -> bool:
        return self.projector is not None and self.trouble is None

    @property
    def says(self) -> str | None:
        """For whoever reads of the model, as a sentence; None where there is nothing to say."""
        return (
            f"It sees pictures, with {self.projector.path}." if self.see and self.projector else self.trouble
        )

    @property
    def card(self) -> ModelCard | None:
        """Of the projector that is used."""
        return self.projector.card if self.projector is not None and self.see else None


NONE = Eyes()


def eyes_of(model: ModelFile, files: Sequence[ModelFile]) -> Eyes:
    """Those of one of `files`: the projector in its folder that fits it.

    One that is named after another model there is that model's; among several,
    the one that is named after this one is meant.
    """
    if model.card is None or model.card.kind is not Kind.CHAT:
        return NONE
    beside = [file for file in files if file.file.parent == model.file.parent and file is not model]
    fitting = [file for file in _candidates(model, beside) if _fits(file, model)]
    if not fitting:
        return Eyes(trouble=_why_none(model, beside))
    if len(fitting) > 1:
        paths = ", ".join(file.path for file in fitting)
        return Eyes(
            trouble=f"It sees no pictures: {len(fitting)} projectors fit it ({paths}). Leave one of them there."
        )
    if model.card.engine == CTRANSFORMERS:
        return Eyes(
            trouble=f"It sees no pictures: the engine {CTRANSFORMERS} has no use for {fitting[0].path}."
        )
    return Eyes(fitting[0])


def _candidates(model: ModelFile, beside: Sequence[ModelFile]) -> list[ModelFile]:
    projectors = [file for file in beside if file.card is not None and file.card.sight is not None]
    named = [file for file in projectors if _named_after(file, model)]
    if any(_fits(file, model) for file in named):
        return named
    others = [file for file in beside if file.card is not None and file.card.kind is Kind.CHAT]
    return [file for file in projectors if not any(_named_after(file, one) for one in (model, *others))]


def _why_none(model: ModelFile, beside: Sequence[ModelFile]) -> str | None:
    """What is wrong with a projector that is named after it, as a sentence."""
    assert model.card is not None
    for file in beside:
        if file.card is None and _named_after(file, model):
            return f"It sees no pictures: its projector cannot be used. {file.reason}"
        if file.card is not None and file.card.sight is not None and _named_after(file, model):
            return (
                f"It sees no pictures: {file.path} is made for a model of the width {file.card.width}, and this "
                f"one's is {model.card.width}. Get the projector that was published with it."
            )
    return None


def _fits(projector: ModelFile, model: ModelFile) -> bool:
    assert projector.card is not None
    assert model.card is not None
    return projector.card.width == model.card.width > 0


def _named_after(projector: ModelFile, model: ModelFile) -> bool:
    """Whether `mmproj-SmolVLM-256M-Instruct-f16` is named after `SmolVLM-256M-Instruct-Q8_0`."""
    if "mmproj" not in projector.id.lower():
        return False
    own, models = _words(projector.id), _words(model.id)
    return bool(own) and models[: len(own)] == own


def _words(name: str) -> list[str]:
    words = re.split(r"[^a-z0-9]+", _STORED.sub(" ", name.lower()))
    return [word for word in words if word and word not in _ASIDE]
