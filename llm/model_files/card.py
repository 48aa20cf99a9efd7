"""Cards: what a model is and can do, from what its file says of itself.

Knows what the facts of a GGUF header mean, and which of them the engine cannot
do without. A file is believed about what it is and never about how long it is:
that was compared before. Its hard rule: whoever hands a file to an engine has
called `inspect_served` for it.
"""

import enum
import re
from collections import Counter
from pathlib import Path

import msgspec

from library.errors import ModelFileInvalid
from llm.model_files.architectures import ENCODERS, FORGETFUL, HELPERS, KNOWN, PROJECTOR, WINDOW_EVERY
from llm.model_files.ggml import quantisation
from llm.model_files.gguf import TEMPLATE, Header, Listed, printable, read_header

# As the engine's own tools name the parts: the first is given, the others are found.
PART = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
MAX_PARTS = 1_024
MAX_LAYERS = 4_096
MAX_PATCHES_A_SIDE = 1_024
# {architecture}.pooling_type: how the tokens of a text become one vector, or one score
_MEAN, _FIRST, _RANK = 1, 2, 4  # 3: the last token is it


class Kind(enum.StrEnum):
    CHAT = "chat"
    VISION = "vision"  # a chat model with its projector beside it; no file alone is one
    EMBEDDING = "embedding"
    RERANK = "rerank"
    PROJECTOR = "projector"  # the eyes or ears of a model (mmproj)
    ADAPTER = "adapter"  # changes to a model (LoRA, control vectors)
    HELPER = "helper"  # drafts for another model, or speaks


IN_WORDS = {
    Kind.CHAT: "a chat model",
    Kind.VISION: "a chat model that sees",
    Kind.EMBEDDING: "an embedding model: it makes vectors and writes no text",
    Kind.RERANK: "a reranker: it judges passages and writes no text",
    Kind.PROJECTOR: "a projector (mmproj): the eyes of a vision model, and not the model",
    Kind.ADAPTER: "an adapter (LoRA): changes to a model, and not the model",
    Kind.HELPER: "a model that drafts for another or speaks, and does not chat",
}
# What a request can ask by itself; of two files of one name, the first is meant.
SERVED = (Kind.CHAT, Kind.EMBEDDING, Kind.RERANK)
# In a file that was written for another engine than the default: which (`almanac models convert`).
ENGINE_KEY = "almanac.engine"
CTRANSFORMERS = "ctransformers"
_NO_MODEL = {
    "imatrix": "measurements for quantising",
    "dataset": "a data set",
    "vocab": "a vocabulary and no weights",
}


class Cache(msgspec.Struct, frozen=True):
    """What a model remembers of each token of the context: keys and values as 16-bit numbers, in bytes."""

    whole: int = 0  # in the layers that see the whole context
    windowed: int = 0  # in those that see the last `window` tokens
    window: int = 0


class Sight(msgspec.Struct, frozen=True):
    """What a projector sees with: a picture cut into patches, each read as so many numbers."""

    patches: int  # of a picture at the size that it was trained on
    width: int


class ModelCard(msgspec.Struct, frozen=True):
    """The facts of a model that the rest of the appliance asks for."""

    kind: Kind
    architecture: str  # "llama", "qwen3", ...
    name: str  # as the file calls itself; "" where it does not
    licence: str  # likewise
    context_tokens: int  # the context it was trained for; 0 where it does not say
    template: bool  # it brings its own chat template
    quantisation: str | None  # as llama.cpp names it; None where there are no weights
    parameters: int
    tensors: int
    vocabulary: int  # tokens it knows; 0 where it does not say
    width: int  # numbers a token is, inside the model; of a projector, inside the model that it belongs to
    cache: Cache
    size_bytes: int  # of all parts together
    parts: int = 1
    in_one_piece: bool = False  # of one that makes vectors or judges: it reads a text so, or not at all
    marks_pairs: bool = False  # it was trained with a mark on each token: of which of two texts it is
    engine: str | None = None  # None: the default
    tools: bool = False  # its chat template has a place for tools
    sight: Sight | None = None  # of a projector that sees; there are some that only hear

    @property
    def order(self) -> tuple[bool, bool]:
        """Which of several is chosen if nobody says: the smallest."""
        return (self.engine is not None, not self.template)


def inspect(path: Path) -> ModelCard:
    """Read and check a model file of any kind; of a model in parts, give the first.

    Raises ModelFileInvalid, and nothing else, for what no engine of ours can
    load: damaged, cut short, a part missing, an architecture that is unknown.
    """
    name, headers = printable(path.name), [read_header(path)]
    headers += [_part(at, headers[0]) for at in part_files(path, _parts(name, headers[0]))[1:]]
    first, tensors = headers[0], sum(header.tensors for header in headers)
    architecture, general = first.text("general.architecture"), first.text("general.type")
    if general in _NO_MODEL or not tensors:
        what = _NO_MODEL.get(general, _NO_MODEL["vocab"])
        raise ModelFileInvalid(f"{name} holds {what}. Use the file of the whole model.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", architecture):
        raise ModelFileInvalid(
            f"{name} is damaged: its header names no architecture that could be. Download it again."
        )
    kind = _kind(first, architecture, general)
    if architecture not in KNOWN and kind is not Kind.ADAPTER:
        raise ModelFileInvalid(
            f"{name} is of the architecture {architecture}, which the engine does not know. "
            "Use another model, or bring Almanac up to date."
        )
    return ModelCard(
        kind=kind,
        architecture=architecture,
        name=first.text("general.name"),
        licence=first.text("general.license"),
        context_tokens=first.whole(f"{architecture}.context_length"),
        template=bool(first.text(TEMPLATE)),
        quantisation=quantisation(first.facts.get("general.file_type"), _values(headers)),
        parameters=sum(_values(headers).values()),
        tensors=tensors,
        vocabulary=_listed(first, "tokenizer.ggml.tokens").count,
        width=_projected(first)
        if kind is Kind.PROJECTOR
        else first.whole(f"{architecture}.embedding_length"),
        cache=_cache(first, architecture),
        size_bytes=sum(header.size_bytes for header in headers),
        parts=len(headers),
        marks_pairs=first.whole("tokenizer.ggml.token_type_count") > 1,
        in_one_piece=kind is not Kind.CHAT and _reads_whole(first, architecture),
        engine=CTRANSFORMERS if first.text(ENGINE_KEY) == CTRANSFORMERS else None,
        tools=bool(re.search(r"\btools\b", str(first.facts.get(TEMPLATE, "")))),
        sight=_sight(first) if kind is Kind.PROJECTOR else None,
    )


def inspect_chat_model(path: Path) -> ModelCard:
    """As `inspect`, of a file that is to be chatted with. Raises ModelFileInvalid for any other kind, too."""
    card = inspect(path)
    if card.kind is not Kind.CHAT:
        raise ModelFileInvalid(f"{printable(path.name)} is {IN_WORDS[card.kind]}. Name a chat model.")
    return card


def inspect_served(path: Path) -> ModelCard:
    """As `inspect`, of a file that is to be asked. Raises ModelFileInvalid for what cannot be, too."""
    card = inspect(path)
    if card.kind not in SERVED:
        name = printable(path.name)
        raise ModelFileInvalid(f"{name} is {IN_WORDS[card.kind]}. Name a model that can be asked.")
    return card


def part_files(path: Path, parts: int) -> list[Path]:
    """Where the parts of a model are; one that is in one piece is its own only part."""
    named = PART.fullmatch(path.name)
    if parts == 1 or named is None:
        return [path]
    others = range(2, parts + 1)
    return [path, *(path.with_name(f"{named['stem']}-{n:05}-of-{parts:05}.gguf") for n in others)]


def _parts(name: str, header: Header) -> int:
    """How many parts there are; raises ModelFileInvalid if this is not the first of them."""
    part, parts = header.whole("split.no"), header.whole("split.count") or 1
    if part:
        raise ModelFileInvalid(
            f"{name} is part {part + 1} of {parts} of a model. "
            "Name the first part; the others are found beside it."
        )
    named = PART.fullmatch(name)
    if parts > MAX_PARTS or (parts > 1 and (named is None or int(named["parts"]) != parts)):
        raise ModelFileInvalid(
            f"{name} is the first of {parts} parts of a model, and not named so. "
            f"Give its files the names they were published under (…-00001-of-{parts:05}.gguf)."
        )
    return parts


def _part(path: Path, first: Header) -> Header:
    try:
        header = read_header(path)
    except ModelFileInvalid as error:
        raise ModelFileInvalid(f"A part of the model is missing or damaged: {error}") from error
    parts = first.whole("split.count")
    if header.whole("split.count") != parts or f"-{header.whole('split.no') + 1:05}-of-" not in path.name:
        raise ModelFileInvalid(
            f"{printable(path.name)} is not the part of the model that its name says. Download it again."
        )
    return header


def _kind(header: Header, architecture: str, general: str) -> Kind:
    if general == "adapter" or "adapter.type" in header.facts or architecture == "controlvector":
        return Kind.ADAPTER
    if general == "mmproj" or architecture == PROJECTOR:
        return Kind.PROJECTOR
    if architecture in HELPERS:
        return Kind.HELPER
    pooling = header.whole(f"{architecture}.pooling_type")
    if pooling == _RANK or (header.classifies and (pooling or architecture in ENCODERS)):
        return Kind.RERANK
    return Kind.EMBEDDING if pooling or architecture in ENCODERS else Kind.CHAT


def _reads_whole(header: Header, architecture: str) -> bool:
    """Whether each token looks at those after it, too, or counts for the vector."""
    return architecture in ENCODERS or header.whole(f"{architecture}.pooling_type") in {_MEAN, _FIRST}


def _projected(header: Header) -> int:
    """How wide what a projector makes is.

    Early LLaVA files state CLIP's own width (768) in the key, and are right in their last layer.
    """
    return header.projected or header.whole("clip.vision.projection_dim")


def _sight(header: Header) -> Sight | None:
    if not header.whole("clip.has_vision_encoder"):
        return None
    side = header.whole("clip.vision.image_size") // max(1, header.whole("clip.vision.patch_size"))
    return Sight(
        patches=min(side, MAX_PATCHES_A_SIDE) ** 2,
        width=min(header.whole("clip.vision.embedding_length"), 2**16),
    )


def _values(headers: list[Header]) -> Counter[int]:
    values = Counter[int]()
    for header in headers:
        values.update(header.values)
    return values


def _cache(header: Header, architecture: str) -> Cache:
    """From the shape of the attention; layers without any (Mamba and its like) remember next to nothing.

    Where a file does not say how layers with a window and without take turns and
    the architecture is not in our table, all are counted as without: at worst too much.
    """
    if architecture in FORGETFUL:
        return Cache()
    layers = min(header.whole(f"{architecture}.block_count"), MAX_LAYERS)
    heads = _each(header, f"{architecture}.attention.head_count", layers)
    of_keys = _each(header, f"{architecture}.attention.head_count_kv", layers, heads)
    size = header.whole(f"{architecture}.embedding_length") // max(1, *heads) if heads else 0
    key = header.whole(f"{architecture}.attention.key_length") or size
    value = header.whole(f"{architecture}.attention.value_length") or size
    window = header.whole(f"{architecture}.attention.sliding_window")
    seen = _sees_whole(header, architecture, layers) if window else [True] * layers
    each = [2 * count * (key + value) for count in of_keys]
    whole = sum(size for size, sees in zip(each, seen, strict=True) if sees)
    return Cache(whole=whole, windowed=sum(each) - whole, window=window)


def _sees_whole(header: Header, architecture: str, layers: int) -> list[bool]:
    pattern = f"{architecture}.attention.sliding_window_pattern"
    listed = _listed(header, pattern).numbers
    if listed:  # a number a layer: does it have a window
        return [not listed[at % len(listed)] for at in range(layers)]
    every = header.whole(pattern) or WINDOW_EVERY.get(architecture, 1)
    return [at % every == every - 1 for at in range(layers)]


def _each(header: Header, key: str, layers: int, default: list[int] | None = None) -> list[int]:
    """A number for each layer: the file gives one for all, or a list."""
    numbers = _listed(header, key).numbers
    if len(numbers) >= layers > 0:
        return [int(number) if 0 < number < 2**16 else 0 for number in numbers[:layers]]
    one = min(header.whole(key), 2**16)
    return [one] * layers if one or default is None else default


def _listed(header: Header, key: str) -> Listed:
    value = header.facts.get(key)
    return value if isinstance(value, Listed) else Listed(0)
