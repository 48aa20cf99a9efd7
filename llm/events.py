"""What an answer is made of while it streams: typed events, never control text inside prose."""

import enum

import msgspec

from search.values import Passage


class AnswerKind(enum.StrEnum):
    WRITTEN = "written"  # by a model, from the passages
    QUOTED = "quoted"  # no model could write: the best passages in their own words
    NOT_FOUND = "not_found"  # the library holds nothing on it; no model was asked


class PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0  # of the prompt, those that were read before and not again


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the engine counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails = PromptDetails()

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class PassagesFound(msgspec.Struct, frozen=True, tag="passages"):
    """First, always: what the answer may draw on. Citation n is `passages[n - 1]`."""

    passages: tuple[Passage, ...]
    degraded: tuple[str, ...]


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """The model is busy: this answer is the `position`th to be written next; 0 when its turn has come."""

    position: int
    loading: bool = False  # the model: nobody is answered until it is there


class Token(msgspec.Struct, frozen=True, tag="token"):
    text: str


class Citation(msgspec.Struct, frozen=True, tag="citation"):
    """What was said just before is said by passage `n`, counted from 1."""

    n: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    kind: AnswerKind
    model: str | None
    finish_reason: str  # OpenAI's: "stop" or "length"
    usage: Usage
    notices: tuple[str, ...]  # sentences: what was left out, what could not be matched


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Last, instead of Done. `message` is a sentence; what was said before it stands."""

    code: str
    message: str
    retry_after_s: int | None = None  # where the model was only busy: when to ask again


AnswerEvent = PassagesFound | Waiting | Token | Citation | Done | Failed
