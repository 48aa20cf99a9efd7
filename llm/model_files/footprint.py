"""Footprints: how much memory a model will take, said before it is loaded.

Weights, cache and working space, in bytes; an estimate from above, compared
with the engine in docs/experiments.md. Knows nothing of files and of the
machine: what is free is told.
"""

import enum

import msgspec

from llm.model_files.architectures import FORGETFUL
from llm.model_files.card import CTRANSFORMERS, Kind, ModelCard, Sight

# Tokens that the engine reads at once (n_ubatch), where it may cut a text: a window is kept
# that much longer, and the working space is laid out for them.
BATCH_TOKENS = 512
_CELLS = 256  # the cache is made in steps of so many tokens
# The engine's process without a model: interpreter, libraries, threads.
PROCESS_BYTES = 48 * 2**20
# Measured with the starter model and rounded up; see docs/experiments.md.
_WIDTHS = 24  # 32-bit numbers for each token of a batch, in widths of the model
_MASK_BYTES = 6  # for each token of a batch and each of the context: one in 32 bits, one in 16
# Of one that makes vectors, the engine keeps a number for each token of a batch and each of the
# vocabulary, though nobody reads them; and once more to compute them, unless it is a pure encoder.
_UNREAD_BYTES = 4
_TOKEN_BYTES = 256  # a token's text, merges and places in tables
_OWN_TOKEN_BYTES = 512  # the same once more, where `llm.model_files.vocabulary` reads it, too
# The same of a projector: what a request's pictures unpack to, and for each patch of one that is looked at.
_PICTURES_BYTES = 96 * 2**20
_SIGHT_WIDTHS = 12
# Of what is free, the share above which the rest of the house would feel it.
TIGHT_ABOVE = 0.8


class Fit(enum.StrEnum):
    GO = "go"
    TIGHT = "tight"
    NO = "no"


class Slots(msgspec.Struct, frozen=True):
    """How a model is to be loaded."""

    context_tokens: int = 4096  # for each slot; never more than the model was trained for
    parallel: int = 2
    prompt_cache_bytes: int = 0  # what the worker may keep of earlier prompts


class Footprint(msgspec.Struct, frozen=True):
    """In bytes, all at once and full."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


class Verdict(msgspec.Struct, frozen=True):
    fit: Fit
    says: str
    needs_bytes: int
    free_bytes: int | None  # None where the machine does not tell


def batch_tokens(card: ModelCard, context_tokens: int) -> int:
    """How many tokens the engine is to read at once, so that no text of that context is refused."""
    return context_tokens if card.in_one_piece else BATCH_TOKENS


def footprint(card: ModelCard, slots: Slots, projector: ModelCard | None = None) -> Footprint:
    """Of a model in use, with every slot full and, where it has a `projector`, a picture before its eyes."""
    if card.engine == CTRANSFORMERS:  # it writes one answer at a time, and remembers that one prompt
        slots = Slots(context_tokens=slots.context_tokens, parallel=1)
    context = _stepped(min(slots.context_tokens, card.context_tokens or slots.context_tokens))
    windowed = min(context, _stepped(card.cache.window + batch_tokens(card, context)))
    cache = slots.parallel * (card.cache.whole * context + card.cache.windowed * windowed)
    return Footprint(
        weights=card.size_bytes + (projector.size_bytes if projector else 0),
        cache=cache + (slots.prompt_cache_bytes if card.kind is Kind.CHAT else 0),
        working=PROCESS_BYTES + _working(card, context) + _looking(projector.sight if projector else None),
    )


def verdict(needs: Footprint, free_bytes: int | None) -> Verdict:
    """Whether that fits into what is free, in words."""
    says = (
        f"It needs about {_mib(needs.total)} ({_mib(needs.weights)} of weights, {_mib(needs.cache)} of context, "
        f"{_mib(needs.working)} to work in)"
    )
    if free_bytes is None:
        return Verdict(Fit.GO, f"{says}.", needs.total, None)
    if needs.total > free_bytes:
        fit, so = Fit.NO, ", which is too little"
    elif needs.total > TIGHT_ABOVE * free_bytes:
        fit, so = Fit.TIGHT, ", which leaves little for the rest"
    else:
        fit, so = Fit.GO, ""
    return Verdict(fit, f"{says}; {_mib(free_bytes)} are free{so}.", needs.total, free_bytes)


def _working(card: ModelCard, context: int) -> int:
    """Space for one batch on its way through the layers, its mask over a slot, and the vocabulary's tables.

    Of what the engine reserves beyond that (a chat model's logits, above all) it
    touches nothing on a CPU, and what is not touched takes no memory.
    """
    tokens = batch_tokens(card, context)
    batch = tokens * 4 * _WIDTHS * card.width
    if card.kind is not Kind.CHAT:
        batch += tokens * _UNREAD_BYTES * card.vocabulary * (1 if card.architecture in FORGETFUL else 2)
    each = _TOKEN_BYTES + (_OWN_TOKEN_BYTES if card.engine == CTRANSFORMERS else 0)
    return batch + tokens * _MASK_BYTES * context + each * card.vocabulary


def _looking(sight: Sight | None) -> int:
    """Space for pictures, and for one of the usual size on its way through the layers that see it.

    One whose model takes pictures as large as they come may take more.
    """
    return 0 if sight is None else _PICTURES_BYTES + 4 * sight.patches * _SIGHT_WIDTHS * sight.width


def _stepped(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 10 * 2**30 else f"{-(-size_bytes // 2**20):,} MiB"
