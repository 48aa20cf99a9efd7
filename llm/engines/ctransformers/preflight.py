"""Preflight for ctransformers: whether its engine can run a file as it is, in words.

ctransformers 0.2.27 carries llama.cpp of September 2023. What it does not know
it refuses at best; at worst it dies, reads beyond its tables, or answers
nonsense. So what is let through is listed here and nothing else is: every key
it reads with its type, every tensor with its shape. Knows no other engine.

Its hard rule: no file reaches the engine with an obstacle left.

Source: llm_load_hparams, llm_load_vocab and llm_load_tensors of that llama.cpp.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from library.errors import ModelFileInvalid
from llm.model_files.contents import FLOAT32, INT32, UINT32, Contents, read_contents
from llm.model_files.gguf import STRING, printable

# F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, and Q2_K to Q6_K. The numbers from 16 on meant something else then.
_TENSOR_TYPES = frozenset({0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14})
_MAX_LAYERS = 1_024
_HEAD_KEY = "llama.attention.head_count"
# Ways to compute that it has no notion of: it would ignore them and answer nonsense.
_UNKNOWN_WAYS = {
    "llama.expert_count": "has several experts in each layer",
    "llama.attention.sliding_window": "looks at its context through a window",
    "llama.attention.layer_norm_epsilon": "normalises its layers in another way",
    "llama.logit_scale": "scales its outcome",
    "llama.embedding_scale": "scales its tokens",
    "llama.residual_scale": "scales its layers",
    "llama.attention.scale": "scales its attention",
}


class Obstacle(msgspec.Struct, frozen=True):
    says: str  # goes on after "ctransformers cannot run FILE: it "
    convert_helps: bool = False


def available() -> str | None:
    """Why ctransformers is not there, as a sentence; None when it is. Does not load it."""
    if find_spec("ctransformers") is not None:
        return None
    return (
        "The engine ctransformers is not installed. Install it with `pip install 'almanac[ctransformers]'` "
        "in Almanac's environment, or choose another model."
    )


def inspect_for_ctransformers(path: Path) -> Contents:
    """The file's contents, if the engine can run it. Raises ModelFileInvalid, with every obstacle, if not."""
    model = read_contents(path)
    if found := obstacles(model):
        raise ModelFileInvalid(refusal(model.name, found))
    return model


def refusal(name: str, found: list[Obstacle]) -> str:
    """The obstacles as a sentence, with what to do about them."""
    what = ", and it ".join(obstacle.says for obstacle in found[:4])
    helps = all(obstacle.convert_helps for obstacle in found)
    then = (
        "`almanac models convert` writes a file that it can run."
        if helps
        else "Use the default engine for it."
    )
    return f"ctransformers cannot run {name}: it {what}. {then}"


def obstacles(model: Contents) -> list[Obstacle]:
    """Everything that keeps the engine from running this file as it is."""
    architecture = model.text("general.architecture")
    if architecture != "llama":
        return [Obstacle(f"is of the architecture {printable(architecture)}, and only llama is known to run")]
    if (model.whole("split.count") or 1) > 1:
        return [Obstacle("is in several parts")]
    found = [*_numbers(model)]
    if found:  # all else is measured by these
        return found
    return [*_ways(model), *_vocabulary(model), *_tensors(model)]


def _numbers(model: Contents) -> Iterator[Obstacle]:
    needed = (
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
    )
    for key in (f"llama.{name}" for name in needed):
        value = model.values.get(key)
        if value is None or value.kind != UINT32 or not 0 < (value.whole() or 0) < 2**24:
            yield Obstacle(f"gives no {key} that could be")
            return
    width, heads = _whole(model, "llama.embedding_length"), _whole(model, _HEAD_KEY)
    sharing = model.values.get(f"{_HEAD_KEY}_kv")
    if sharing is not None and sharing.kind != UINT32:
        yield Obstacle("has layers of different shapes")
        return
    of_keys = _whole(model, f"{_HEAD_KEY}_kv") or heads
    if (
        width % heads
        or heads % of_keys
        or (width // heads) % 2
        or _whole(model, "llama.block_count") > _MAX_LAYERS
    ):
        yield Obstacle("has layers of a shape that cannot be")
        return
    turned = ("llama.rope.dimension_count", "llama.attention.key_length", "llama.attention.value_length")
    for key in turned:
        if key in model.values and (model.values[key].kind, _whole(model, key)) != (UINT32, width // heads):
            yield Obstacle(f"gives a {key} other than {width // heads}")
    for key in ("llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base", "llama.rope.scale_linear"):
        needed_too = key.endswith("rms_epsilon")
        kind = model.values[key].kind if key in model.values else FLOAT32 if not needed_too else -1
        if kind != FLOAT32:
            yield Obstacle(f"gives no {key} that could be")


def _ways(model: Contents) -> Iterator[Obstacle]:
    for key, words in _UNKNOWN_WAYS.items():
        if key in model.values and model.whole(key) != 0:
            yield Obstacle(f"{words}, which is newer")
    if model.text("llama.rope.scaling.type") not in {"", "none"}:
        yield Obstacle("stretches its context in a way that is newer")


def _vocabulary(model: Contents) -> Iterator[Obstacle]:
    kind, count = _listed(model, "tokens")
    if kind != STRING or count < 3:
        yield Obstacle("brings no vocabulary")
        return
    if _listed(model, "token_type") != (INT32, count):
        yield Obstacle("does not say of what kind its tokens are")
    if "tokenizer.ggml.scores" not in model.values:
        yield Obstacle("has no scores for its tokens", convert_helps=True)
    elif _listed(model, "scores") != (FLOAT32, count):
        yield Obstacle("has scores that do not belong to its tokens")
    for name in ("bos", "eos", "unknown", "seperator", "padding"):
        value = model.values.get(f"tokenizer.ggml.{name}_token_id")
        if value is not None and (value.kind != UINT32 or (value.whole() or 0) >= count):
            yield Obstacle(f"names a {name} token that it does not have")
    yield from _tokenizer(model)


def _tokenizer(model: Contents) -> Iterator[Obstacle]:
    tokens = set(model.strings("tokenizer.ggml.tokens"))
    match model.text("tokenizer.ggml.model"):
        case "llama":
            if not {b"<0x%02X>" % byte for byte in range(256)} <= tokens:
                yield Obstacle("has no token for some bytes")
        case "gpt2" if _listed(model, "merges")[0] != STRING:
            yield Obstacle("has no merges for its tokens")
        case "gpt2" if b"\n" not in tokens:
            # Looked up while it loads, and not found: the engine's process dies.
            yield Obstacle("has a byte-level vocabulary in letters", convert_helps="Ċ".encode() in tokens)
        case "gpt2":
            if not model.strings("almanac.merges"):
                yield Obstacle("has a byte-level vocabulary that `almanac models convert` did not write")
        case other:
            yield Obstacle(f"has a tokenizer, {printable(other) or 'unnamed'}, that is newer")


def _tensors(model: Contents) -> Iterator[Obstacle]:
    found = {tensor.name: tensor for tensor in model.tensors}
    wanted = _shapes(model)
    if found.keys() == wanted.keys() - {"output.weight"}:
        yield Obstacle("uses one table for reading and writing", convert_helps=True)
    elif found.keys() != wanted.keys():
        odd = min(found.keys() ^ wanted.keys())
        yield Obstacle(
            f"{'lacks' if odd in wanted else 'has'} the tensor {printable(odd)}, which other models of its kind do not"
        )
        return
    for name, tensor in found.items():
        if tensor.kind not in _TENSOR_TYPES:
            yield Obstacle("is quantised in a way that is newer")
            return
        if tensor.shape != wanted[name] or (len(tensor.shape) == 1 and tensor.kind != 0):
            yield Obstacle(f"has a tensor, {printable(name)}, of another shape than its kind")
            return


def _shapes(model: Contents) -> dict[str, tuple[int, ...]]:
    """Each tensor of a llama model of these numbers, and its shape."""
    width, inner = _whole(model, "llama.embedding_length"), _whole(model, "llama.feed_forward_length")
    heads = _whole(model, _HEAD_KEY)
    shared = width // heads * (_whole(model, f"{_HEAD_KEY}_kv") or heads)
    vocabulary = _listed(model, "tokens")[1]
    layer = {
        "attn_norm": (width,), "attn_q": (width, width), "attn_k": (width, shared), "attn_v": (width, shared),
        "attn_output": (width, width), "ffn_norm": (width,), "ffn_gate": (width, inner),
        "ffn_down": (inner, width), "ffn_up": (width, inner),
    }  # fmt: skip
    layers = range(_whole(model, "llama.block_count"))
    return {
        "token_embd.weight": (width, vocabulary),
        "output_norm.weight": (width,),
        "output.weight": (width, vocabulary),
        **{f"blk.{at}.{name}.weight": shape for at in layers for name, shape in layer.items()},
    }


def _listed(model: Contents, name: str) -> tuple[int, int]:
    """Of a list of the tokenizer's: the type of what is in it, and how many there are."""
    value = model.values.get(f"tokenizer.ggml.{name}")
    return value.listed() if value else (-1, 0)


def _whole(model: Contents, key: str) -> int:
    return model.whole(key) or 0
