"""A projector (mmproj) small enough for a test: real in every part, and with nothing learnt.

LLaVA's kind: a picture of 56 x 56 pixels, 16 patches, 16 tokens. Its weights are
dice, so it sees nothing that means anything: what it can prove is that a picture
becomes tokens, another picture others, and the same picture the same.
"""

import random
import struct
from collections.abc import Callable

from tests.llm.gguf_files import BOOL, F32, counted, gguf, key, said, tensor
from tests.llm.tiny_llama import FLOAT32, numbers, real

SIDE, PATCH = 56, 14  # pixels
TOKENS = (SIDE // PATCH) ** 2  # that a picture becomes
STARTER_WIDTH = 576  # of SmolLM2-135M
_WIDTH, _INNER, _LAYERS = 32, 64, 2

Keys, Shapes = dict[str, bytes], dict[str, tuple[int, ...]]


def _yes(name: str) -> bytes:
    return key(name, BOOL, b"\x01")


def keys(width: int) -> Keys:
    """By name, so that a test can leave one out or put another in its place."""
    return {
        "general.architecture": said("general.architecture", "clip"),
        "general.type": said("general.type", "mmproj"),
        "general.name": said("general.name", "Tiny eyes"),
        "general.file_type": counted("general.file_type", 0),
        "clip.has_vision_encoder": _yes("clip.has_vision_encoder"),
        "clip.projector_type": said("clip.projector_type", "mlp"),
        "clip.use_gelu": _yes("clip.use_gelu"),
        "clip.vision.image_size": counted("clip.vision.image_size", SIDE),
        "clip.vision.patch_size": counted("clip.vision.patch_size", PATCH),
        "clip.vision.embedding_length": counted("clip.vision.embedding_length", _WIDTH),
        "clip.vision.feed_forward_length": counted("clip.vision.feed_forward_length", _INNER),
        "clip.vision.block_count": counted("clip.vision.block_count", _LAYERS),
        "clip.vision.projection_dim": counted("clip.vision.projection_dim", width),
        "clip.vision.attention.head_count": counted("clip.vision.attention.head_count", 2),
        "clip.vision.attention.layer_norm_epsilon": real("clip.vision.attention.layer_norm_epsilon", 1e-5),
        "clip.vision.image_mean": numbers("clip.vision.image_mean", FLOAT32, (0.5, 0.5, 0.5)),
        "clip.vision.image_std": numbers("clip.vision.image_std", FLOAT32, (0.5, 0.5, 0.5)),
    }


def shapes(width: int) -> Shapes:
    formed: Shapes = {
        "v.patch_embd.weight": (PATCH, PATCH, 3, _WIDTH),
        "v.position_embd.weight": (_WIDTH, TOKENS),
    }
    for layer in range(_LAYERS):
        block = f"v.blk.{layer}"
        for norm in ("ln1", "ln2"):
            formed |= {f"{block}.{norm}.weight": (_WIDTH,), f"{block}.{norm}.bias": (_WIDTH,)}
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            formed |= {f"{block}.{part}.weight": (_WIDTH, _WIDTH), f"{block}.{part}.bias": (_WIDTH,)}
        formed |= {
            f"{block}.ffn_up.weight": (_WIDTH, _INNER),
            f"{block}.ffn_up.bias": (_INNER,),
            f"{block}.ffn_down.weight": (_INNER, _WIDTH),
            f"{block}.ffn_down.bias": (_WIDTH,),
        }
    return formed | {
        "mm.0.weight": (_WIDTH, width),
        "mm.0.bias": (width,),
        "mm.2.weight": (width, width),
        "mm.2.bias": (width,),
    }


def tiny_eyes(
    width: int = STARTER_WIDTH,
    change: Callable[[Keys, Shapes], None] = lambda _keys, _shapes: None,
    *,
    seed: int = 1,
) -> bytes:
    """The whole file, after `change` has had its way with the keys and the shapes of the tensors."""
    said_of, formed = keys(width), shapes(width)
    change(said_of, formed)
    dice = random.Random(seed)
    tensors, data = [], bytearray()
    for name, shape in formed.items():
        count = 1
        for length in shape:
            count *= length
        tensors.append(tensor(name, shape, F32, len(data)))
        if name.endswith(("ln1.weight", "ln2.weight")):
            weights = [1.0] * count
        else:
            weights = [dice.gauss(0, 0.1) for _ in range(count)]
        data += struct.pack(f"<{count}f", *weights)
        data += bytes(-len(data) % 32)
    return gguf(said_of.values(), tensors, data=bytes(data))
