"""Eyes: which projector is whose, and what becomes of a model whose projector is none, on the real engine."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from library.errors import InvalidRequest
from llm.engines.supervisor import ModelSettings, Supervisor
from llm.model_files.card import CTRANSFORMERS, ENGINE_KEY, Kind, inspect
from llm.model_files.eyes import Eyes
from llm.model_files.footprint import Slots, footprint
from llm.model_files.registry import Registry
from llm.serving.listing import listed
from tests.drawn import data_url, png
from tests.llm.gguf_files import counted, said
from tests.llm.tiny_eyes import STARTER_WIDTH, TOKENS, Keys, Shapes, tiny_eyes
from tests.llm.tiny_llama import WIDTH, tiny_llama
from tests.places import chat_model


class Folder:
    def __init__(self, root: Path) -> None:
        self.root, self.registry = root, Registry(root)

    def put(self, name: str, content: bytes) -> Path:
        file = self.root / f"{name}.gguf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def model(self, name: str) -> Path:
        return self.put(name, tiny_llama())

    def eyes(self, model: Path) -> Eyes:
        self.registry.look()
        return self.registry.eyes(model)

    def seen_with(self, model: Path) -> str | None:
        eyes = self.eyes(model)
        return eyes.projector.path if eyes.projector and eyes.see else None

    def notes(self, name: str) -> tuple[str, ...]:
        self.registry.look()
        return next(model.notes for model in listed(self.registry) if model.id == name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "models")


def without(*names: str) -> Callable[[Keys, Shapes], None]:
    def change(said_of: Keys, formed: Shapes) -> None:
        for name in names:
            said_of.pop(name, None)
            formed.pop(name, None)

    return change


def test_a_model_sees_with_the_projector_that_lies_beside_it(folder: Folder) -> None:
    model = folder.model("lamp-7b-Q4_K_M")
    assert folder.eyes(model) == Eyes()
    folder.put("mmproj-F16", tiny_eyes(WIDTH))
    assert folder.seen_with(model) == "mmproj-F16.gguf"
    told = {one.id: one for one in listed(folder.registry)}
    assert (told["lamp-7b-Q4_K_M"].kind, told["lamp-7b-Q4_K_M"].projector) == (Kind.VISION, "mmproj-F16.gguf")
    assert told["mmproj-F16"].kind == Kind.PROJECTOR
    assert "It sees pictures, with mmproj-F16.gguf." in told["lamp-7b-Q4_K_M"].notes
    assert "It belongs to lamp-7b-Q4_K_M.gguf." in told["mmproj-F16"].notes


def test_not_with_one_that_lies_elsewhere_is_as_wide_as_another_or_only_hears(folder: Folder) -> None:
    model = folder.model("chat/lamp-7b")
    folder.put("other/mmproj-lamp-7b", tiny_eyes(WIDTH))
    folder.put("chat/mmproj", tiny_eyes(WIDTH + 32))
    folder.put("chat/mmproj-ears", tiny_eyes(WIDTH, without("clip.has_vision_encoder")))
    assert folder.eyes(model) == Eyes()
    assert any("needs one, in the same folder" in note for note in folder.notes("mmproj"))
    assert any("no part that sees" in note for note in folder.notes("mmproj-ears"))


def test_among_several_the_one_of_its_name_is_meant(folder: Folder) -> None:
    lamp, desk = folder.model("lamp-7b-Q4_K_M"), folder.model("desk-2-7b.Q8_0")
    folder.put("mmproj-lamp-7b-f16", tiny_eyes(WIDTH))
    folder.put("desk-2-7b-mmproj-BF16", tiny_eyes(WIDTH, seed=2))
    assert folder.seen_with(lamp) == "mmproj-lamp-7b-f16.gguf"
    assert folder.seen_with(desk) == "desk-2-7b-mmproj-BF16.gguf"


def test_one_that_is_named_after_another_model_is_not_borrowed(folder: Folder) -> None:
    lamp, plain = folder.model("lamp-7b"), folder.model("plain-7b")
    folder.put("mmproj-lamp-7b", tiny_eyes(WIDTH))
    assert folder.seen_with(lamp)
    assert folder.eyes(plain) == Eyes()


def test_where_two_would_do_none_is_used_and_it_is_said(folder: Folder) -> None:
    model = folder.model("lamp-7b")
    folder.put("mmproj-lamp-7b-f16", tiny_eyes(WIDTH))
    folder.put("mmproj-lamp-7b-Q8_0", tiny_eyes(WIDTH))
    eyes = folder.eyes(model)
    assert not eyes.see
    assert eyes.trouble
    assert "2 projectors fit it (mmproj-lamp-7b-Q8_0.gguf, mmproj-lamp-7b-f16.gguf)" in eyes.trouble
    assert eyes.trouble in folder.notes("lamp-7b")


def test_what_is_wrong_with_the_one_of_its_name_is_said(folder: Folder) -> None:
    model = folder.model("lamp-7b")
    made = folder.put("mmproj-lamp-7b", tiny_eyes(WIDTH + 32))
    assert "made for a model of the width 64, and this one's is 32" in (folder.eyes(model).trouble or "")
    made.write_bytes(tiny_eyes(WIDTH)[:-100])
    trouble = folder.eyes(model).trouble or ""
    assert "cannot be used. mmproj-lamp-7b.gguf is cut short" in trouble
    made.write_bytes(tiny_eyes(WIDTH))
    assert folder.seen_with(model)


def test_early_files_say_another_width_than_they_have(folder: Folder) -> None:
    model = folder.model("llava-7b")

    def clips(said_of: Keys, _: Shapes) -> None:
        said_of["clip.vision.projection_dim"] = counted("clip.vision.projection_dim", 768)

    folder.put("mmproj-model-f16", tiny_eyes(WIDTH, clips))
    assert folder.seen_with(model)


def test_the_second_engine_sees_nothing(folder: Folder) -> None:
    def for_it(said_of: Keys, _: Shapes) -> None:
        said_of[ENGINE_KEY] = said(ENGINE_KEY, CTRANSFORMERS)

    model = folder.put("lamp-7b", tiny_llama(change=for_it))
    folder.put("mmproj-lamp-7b", tiny_eyes(WIDTH))
    assert folder.eyes(model) == Eyes(
        trouble="It sees no pictures: the engine ctransformers has no use for mmproj-lamp-7b.gguf."
    )


def test_a_projector_needs_memory_too(folder: Folder) -> None:
    model = inspect(folder.model("lamp-7b"))
    projector = inspect(folder.put("mmproj", tiny_eyes(WIDTH)))
    alone, both = footprint(model, Slots()), footprint(model, Slots(), projector)
    assert both.weights == alone.weights + projector.size_bytes
    assert both.working > alone.working


# --- with the engine -------------------------------------------------------------------------------


@asynccontextmanager
async def starter(folder: Folder, projector: bytes) -> AsyncGenerator[tuple[Supervisor, Path], None]:
    """The starter model with a projector beside it, loaded or given up."""
    (folder.root / "chat").mkdir(parents=True)
    model = folder.root / "chat" / "starter.gguf"
    model.symlink_to(chat_model())
    made = folder.put("chat/mmproj", projector)
    folder.registry.look()
    host = Supervisor(
        model,
        folder.root.parent / "run",
        ModelSettings(context_tokens=512, parallel=1),
        eyes=lambda: folder.registry.eyes(model),
    )
    try:
        yield host, made
    finally:
        await host.stop()


async def asked(host: Supervisor, *pictures: bytes) -> int:
    """Tokens of a prompt with those pictures."""
    parts = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    content = [{"type": "text", "text": "What is this?"}, *parts]
    answer = await host.engine().chat({"messages": [{"role": "user", "content": content}], "max_tokens": 1})
    return int(answer["usage"]["prompt_tokens"])


@pytest.mark.models
def test_a_picture_is_so_many_tokens(folder: Folder) -> None:
    async def scene() -> None:
        async with starter(folder, tiny_eyes()) as (host, _):
            await host.start()
            await host.settled.wait()
            assert host.eyes.see, host.reason
            assert await asked(host, png()) == await asked(host) + TOKENS
            assert await asked(host, png(), png(40, 3)) == await asked(host) + 2 * TOKENS

    asyncio.run(scene())


BROKEN = {
    "the engine refuses it": (
        without("v.blk.0.attn_out.weight"),
        "unable to find tensor v.blk.0.attn_out.weight",
    ),
    "the engine dies of it": (without("v.patch_embd.weight"), "SIGSEGV"),
    "nobody knows its kind": (
        lambda said_of, _: said_of.update({"clip.projector_type": said("clip.projector_type", "wizard")}),
        "unknown projector type: wizard",
    ),
}


@pytest.mark.models
@pytest.mark.parametrize(("change", "why"), BROKEN.values(), ids=list(BROKEN))
def test_a_projector_that_cannot_be_loaded_costs_the_model_its_eyes_alone(
    folder: Folder, change: Callable[[Keys, Shapes], None], why: str
) -> None:
    async def scene() -> None:
        async with starter(folder, tiny_eyes(STARTER_WIDTH, change)) as (host, _):
            await host.start()
            await host.settled.wait()
            assert host.reason is None
            assert await asked(host)
            assert not host.eyes.see
            assert "chat/mmproj.gguf, its projector, it could not be loaded" in (host.eyes.trouble or "")
            assert why in (host.eyes.trouble or "")
            assert str(folder.root) not in (host.eyes.trouble or "")
            with pytest.raises(InvalidRequest, match="image input is not supported") as refused:
                await asked(host, png())  # from whoever asked before it was known
            assert refused.value.parameter == "messages"

    asyncio.run(scene())


@pytest.mark.models
def test_a_projector_that_is_broken_by_now_never_reaches_the_engine(folder: Folder) -> None:
    async def scene() -> None:
        async with starter(folder, tiny_eyes()) as (host, made):
            made.write_bytes(tiny_eyes()[:-1000])  # since the registry looked
            os.utime(made, (time.time() - 60,) * 2)
            await host.start()
            await host.settled.wait()
            assert host.reason is None
            assert "its projector cannot be used. mmproj.gguf is cut short" in (host.eyes.trouble or "")

    asyncio.run(scene())
