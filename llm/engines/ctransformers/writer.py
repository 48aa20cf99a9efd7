"""The writer: one model in ctransformers, a prompt's tokens in and its answer's text out.

Plain and blocking: it belongs to one thread, for the engine is not safe in two.
Knows no HTTP and no chat. What the engine remembers of the last prompt is not
read again where the next begins in the same way.

Its hard rule: the engine is given no more tokens than its context holds, and
none that it does not know. It checks neither.
"""

import codecs
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import msgspec

from llm.engines.ctransformers.requests import Sampling
from llm.model_files.vocabulary import Vocabulary

# Tokens of a prompt read at once; between two batches it is seen whether somebody
# has left. More is hardly faster (8: 89 tok/s, 64: 97, 512: 104) and takes memory.
BATCH_TOKENS = 32


class Ended(msgspec.Struct, frozen=True):
    """How an answer ended, and its figures."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int  # of the prompt: remembered, not read
    completion_tokens: int
    reading_s: float
    writing_s: float


class Model(Protocol):
    """As much of `ctransformers.LLM` as is used here."""

    def prepare_inputs_for_generation(self, tokens: list[int], *, reset: bool) -> list[int]: ...
    def eval(self, tokens: list[int], *, batch_size: int, threads: int) -> None: ...
    def sample(self, **sampling: Any) -> int: ...


class Writer:
    def __init__(self, model: Model, vocabulary: Vocabulary, *, context_tokens: int, threads: int) -> None:
        self._model, self._vocabulary, self._threads = model, vocabulary, threads
        self.context_tokens = context_tokens

    def write(self, prompt: list[int], asked: Sampling, gone: Callable[[], bool]) -> Iterator[str | Ended]:
        """The answer's text, piece by piece, then how it ended; ends early and silently when `gone()`.

        The prompt holds at least one token and leaves room for one.
        """
        began = time.perf_counter()
        unread = self._model.prepare_inputs_for_generation(prompt, reset=True)
        cached = len(prompt) - len(unread)
        for at in range(0, len(unread), BATCH_TOKENS):
            if gone():
                return
            self._read(unread[at : at + BATCH_TOKENS])
        read_at = time.perf_counter()
        room = self.context_tokens - len(prompt)
        most = room if asked.most_tokens is None else min(room, asked.most_tokens)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        spoken, written, reason = _UntilStop(asked.stops), 0, "length"
        sample = self._sampler(asked)
        while written < most and not gone():
            token = sample()
            written += 1
            if token in self._vocabulary.ends and not asked.ignore_eos:
                reason = "stop"
                break
            if text := spoken.add(decoder.decode(self._vocabulary.piece(token))):
                yield text
            if spoken.stopped:
                reason = "stop"
                break
            if written < most:
                self._read([token])
        if gone():
            return
        if text := spoken.rest(decoder.decode(b"", final=True)):
            yield text
        ended_at = time.perf_counter()
        yield Ended(
            "stop" if reason == "stop" or spoken.stopped else "length",
            len(prompt), cached, written, read_at - began, ended_at - read_at,
        )  # fmt: skip

    def _read(self, tokens: list[int]) -> None:
        self._model.eval(tokens, batch_size=BATCH_TOKENS, threads=self._threads)

    def _sampler(self, asked: Sampling) -> Callable[[], int]:
        """A token at each call.

        The engine seeds its dice anew with every token: the same seed twice would
        be the same throw twice, so each token has one of its own.
        """
        dice = random.Random(None if asked.seed == -1 else asked.seed)  # noqa: S311 - no secret
        greedy = asked.temperature == 0 or asked.top_k == 1
        sampling = {
            "top_k": 1 if greedy else asked.top_k or self._vocabulary.size,
            "top_p": 1.0 if greedy else asked.top_p,
            "temperature": 1.0 if greedy else max(asked.temperature, 0.01),  # it divides by it
            "repetition_penalty": asked.repeat_penalty if asked.repeat_last_n else 1.0,
            "last_n_tokens": max(asked.repeat_last_n, 1),
        }
        return lambda: self._model.sample(**sampling, seed=dice.getrandbits(31))


class _UntilStop:
    """Text as it may be passed on: up to a stop word, and never the beginning of one that may yet come."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._held, self.stopped = stops, "", False

    def add(self, text: str) -> str:
        if not self._stops or not text:
            return text
        self._held += text
        at = min((at for at in map(self._held.find, self._stops) if at >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            said, self._held = self._held[:at], ""
            return said
        keep = max(map(self._begun, self._stops))
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said

    def rest(self, text: str) -> str:
        """What is left when no more will come."""
        if self.stopped:
            return ""
        said = self.add(text)
        return said if self.stopped else said + self._held

    def _begun(self, stop: str) -> int:
        """How many letters at the end of what is held are the beginning of this stop word."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
