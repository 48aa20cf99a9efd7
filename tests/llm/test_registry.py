"""The registry: a folder with good, bad and strange model files, looked through again and again."""

import hashlib
import os
import threading
from concurrent.futures import ALL_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from library.errors import Busy, ModelFileInvalid, ModelNotFound
from llm.model_files import registry as registry_module
from llm.model_files.card import Kind
from llm.model_files.digests import Digests
from llm.model_files.footprint import Fit, Slots
from llm.model_files.registry import Changes, ModelFileState, Registry
from llm.serving.listing import Serving, listed, listed_one
from tests.llm.gguf_files import KEYS, WHOLE, gguf, said
from tests.llm.test_card import in_parts

BARE = gguf(KEYS[:1])  # a chat model without a template
EMBEDDING = gguf([said("general.architecture", "bert")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models" / "chat").mkdir(parents=True)
    return tmp_path / "models"


def put(folder: Path, name: str, content: bytes = WHOLE) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def looked(folder: Path) -> Registry:
    registry = Registry(folder)
    registry.look()
    return registry


def paths(registry: Registry) -> list[str]:
    return [model.path for model in registry.files()]


def test_every_model_file_is_listed_wherever_it_lies(folder):
    for name in (
        "chat/b.gguf",
        "a.GGUF",
        "chat/big ones/c.gguf",
        "chat/notes.txt",
        ".hidden/d.gguf",
        "chat/.e.gguf",
    ):
        put(folder, name)
    assert paths(looked(folder)) == ["a.GGUF", "chat/b.gguf", "chat/big ones/c.gguf"]


def test_a_bad_file_has_its_sentence_and_stops_no_other(folder):
    put(folder, "a.gguf", b"")
    put(folder, "b.gguf", WHOLE[:-1])
    put(folder, "c.gguf")
    (folder / "d.gguf").mkdir()
    (folder / "e.gguf").symlink_to("nowhere")
    os.mkfifo(folder / "f.gguf")
    models = looked(folder).files()
    assert [(model.id, model.state) for model in models] == [
        ("a", ModelFileState.UNUSABLE),
        ("b", ModelFileState.UNUSABLE),
        ("c", ModelFileState.REGISTERED),
        ("e", ModelFileState.UNUSABLE),
        ("f", ModelFileState.UNUSABLE),
    ]
    assert all((model.reason or "").endswith(".") for model in models if not model.card)


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert looked(tmp_path / "none").files() == []


def test_names_that_are_no_text_are_shown_as_text(folder):
    os.close(os.open(os.fsencode(folder) + b"/caf\xe9\x1b[2J.gguf", os.O_CREAT))
    (model,) = looked(folder).files()
    assert model.path == "caf��[2J.gguf"
    (model.path + model.id + (model.reason or "")).encode()


def test_links_are_followed_but_never_in_a_circle(folder, tmp_path):
    put(tmp_path, "elsewhere/far.gguf")
    (folder / "disk").symlink_to(tmp_path / "elsewhere")
    (folder / "chat" / "loop").symlink_to(folder)
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
    assert paths(looked(folder)) == ["disk/far.gguf"]


def test_a_model_in_parts_is_listed_once(folder):
    first = in_parts(folder / "chat")
    registry = looked(folder)
    (model,) = registry.files()
    assert (model.file, model.state, model.size_bytes) == (
        first,
        ModelFileState.REGISTERED,
        sum(file.stat().st_size for file in (folder / "chat").iterdir()),
    )
    first.unlink()
    registry.look()
    assert {model.reason and model.reason.split(". ")[0] for model in registry.files()} == {
        "big-00002-of-00003.gguf is part 2 of 3 of a model",
        "big-00003-of-00003.gguf is part 3 of 3 of a model",
    }


def test_a_look_tells_what_is_new_different_and_gone(folder):
    registry = Registry(folder)
    put(folder, "a.gguf")
    put(folder, "b.gguf", WHOLE[:-1])
    assert registry.look() == Changes(added=("a.gguf", "b.gguf"))
    assert not registry.look()
    put(folder, "b.gguf")
    (folder / "a.gguf").rename(folder / "c.gguf")
    assert registry.look() == Changes(added=("c.gguf",), changed=("b.gguf",), removed=("a.gguf",))
    assert [model.state for model in registry.files()] == [ModelFileState.REGISTERED] * 2


def test_a_part_that_arrives_later_is_noticed(folder):
    in_parts(folder)
    last = folder / "big-00003-of-00003.gguf"
    content = last.read_bytes()
    last.unlink()
    registry = looked(folder)
    assert registry.files()[0].state is ModelFileState.UNUSABLE
    last.write_bytes(content)
    assert registry.look().changed == ("big-00001-of-00003.gguf",)
    assert registry.files()[0].state is ModelFileState.REGISTERED


def test_a_second_look_reads_no_file(folder, monkeypatch):
    put(folder, "a.gguf")
    put(folder, "b.gguf", b"broken")
    registry = looked(folder)
    monkeypatch.setattr(registry_module, "inspect", lambda path: pytest.fail("read again"))
    assert not registry.look()


def test_many_may_look_at_once(folder):
    for n in range(20):
        put(folder, f"{n}.gguf")
    registry, found = Registry(folder), list[Changes]()
    threads = [threading.Thread(target=lambda: found.append(registry.look())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(changes.added) for changes in found) == 20


def test_a_model_is_found_by_its_name_and_by_its_path(folder):
    put(folder, "chat/a.gguf")
    put(folder, "z/a.gguf", BARE)
    registry = looked(folder)
    for name in ("a", "chat/a.gguf"):
        assert registry.find(name).path == "chat/a.gguf"
    assert registry.find("z/a.gguf").path == "z/a.gguf"
    with pytest.raises(ModelNotFound, match="Known models: a, a"):
        registry.find("b")


def test_models_with_a_template_go_first(folder):
    put(folder, "a.gguf", BARE)
    put(folder, "b.gguf", EMBEDDING)
    put(folder, "c.gguf", b"broken")
    put(folder, "d.gguf")
    assert [model.id for model in looked(folder).chat_models()] == ["d", "a"]


def test_the_estimate_is_that_of_the_model_s_own_slots(folder):
    put(folder, "a.gguf")
    put(folder, "b.gguf")
    registry = Registry(folder, slots=lambda name: Slots(prompt_cache_bytes=2**60 if name == "b" else 0))
    registry.look()
    modest, greedy = registry.files()
    assert greedy.card is not None
    assert registry.estimate(greedy.file, greedy.card).fit is Fit.NO
    assert registry.estimate(greedy.file, greedy.card, loaded=True).fit is Fit.GO
    assert registry.estimate(modest.file, greedy.card).needs_bytes < 2**40


# --- digests and duplicates -----------------------------------------------------------------------


def test_the_same_content_is_noticed(folder):
    put(folder, "a.gguf")
    put(folder, "b.gguf")
    put(folder, "c.gguf", gguf([*KEYS, said("x", "another length")]))
    put(
        folder, "d.gguf", gguf([KEYS[0], said("general.name", "A Model\x1b[31n"), *KEYS[2:]])
    )  # the same length
    put(folder, "e.gguf", b"broken")
    registry = looked(folder)
    assert registry.duplicates() == {}
    registry.compare()
    assert registry.duplicates() == {"b.gguf": "a.gguf"}
    known = {model.id: registry.known_digest(model) for model in registry.files() if model.card}
    assert known["a"] == known["b"] == hashlib.sha256(WHOLE).hexdigest()
    assert known["c"] is None  # nothing has its size: it was not read


def test_the_comparison_in_the_background_comes_to_an_end(folder):
    put(folder, "a.gguf")
    put(folder, "b.gguf")
    registry = looked(folder)
    registry.compare_in_background()
    for thread in threading.enumerate():
        if thread.name == "comparing models":
            thread.join(10)
    assert registry.duplicates() == {"b.gguf": "a.gguf"}


def test_a_digest_is_taken_once_and_remembered_over_a_restart(folder, tmp_path, monkeypatch):
    file, memory = put(folder, "a.gguf"), tmp_path / "data" / "digests.json"
    digest = Digests(memory).take([file])
    assert digest == hashlib.sha256(WHOLE).hexdigest()
    monkeypatch.setattr("llm.model_files.digests._digest", lambda files: pytest.fail("read again"))
    assert Digests(memory).take([file]) == digest
    assert [path.name for path in memory.parent.iterdir()] == ["digests.json"]


def test_one_file_is_read_at_a_time_and_few_wait_for_it(folder, monkeypatch):
    file, reading, go_on, read = put(folder, "a.gguf"), threading.Event(), threading.Event(), []

    def slowly(files: object) -> str:
        read.append(files)
        reading.set()
        assert go_on.wait(10)
        return "digest"

    monkeypatch.setattr("llm.model_files.digests._digest", slowly)
    digests = Digests()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(digests.take, [file]) for _ in range(8)]
        assert reading.wait(10)
        done, _ = wait(asked, return_when=ALL_COMPLETED, timeout=0.5)
        assert [type(one.exception()) for one in done] == [Busy] * 4
        go_on.set()
        assert {one.result() for one in asked if one not in done} == {"digest"}
    assert len(read) == 1


def test_a_file_that_has_changed_is_read_again(folder, tmp_path):
    file, digests = put(folder, "a.gguf"), Digests(tmp_path / "digests.json")
    before = digests.take([file])
    file.write_bytes(BARE)
    assert digests.known([file]) is None
    assert digests.take([file]) not in {None, before}


def test_a_file_that_changes_meanwhile_has_no_digest(folder, monkeypatch):
    file = put(folder, "a.gguf")

    def meddled(files):
        os.utime(file, ns=(1, 1))
        return "nonsense"

    monkeypatch.setattr("llm.model_files.digests._digest", meddled)
    with pytest.raises(ModelFileInvalid, match="changed while it was read"):
        Digests().take([file])


def test_a_file_that_is_gone_has_none(folder):
    with pytest.raises(ModelFileInvalid, match="cannot be read"):
        Digests().take([folder / "none.gguf"])
    assert Digests().known([folder / "none.gguf"]) is None


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"a": {"stamp": 1}}'])
def test_a_broken_memory_is_no_memory(folder, tmp_path, content):
    (tmp_path / "digests.json").write_bytes(content)
    digests = Digests(tmp_path / "digests.json")
    file = put(folder, "a.gguf")
    assert digests.known([file]) is None
    digests.take([file])
    assert Digests(tmp_path / "digests.json").known([file])


def test_a_memory_that_cannot_be_written_costs_a_line_in_the_log(folder, tmp_path, caplog):
    (tmp_path / "file").touch()
    assert Digests(tmp_path / "file" / "digests.json").take([put(folder, "a.gguf")])
    assert "cannot be remembered" in caplog.text


# --- as it is told --------------------------------------------------------------------------------


def test_the_listing_says_what_each_is(folder):
    put(folder, "a.gguf", BARE)
    put(folder, "b.gguf", EMBEDDING)
    put(folder, "c.gguf", b"")
    d = put(folder, "d.gguf")
    told = {
        model.id: model
        for model in listed(looked(folder), {d: Serving("ready", None, loaded=True, chosen=True)})
    }
    assert "brings no chat template" in told["a"].notes[0]
    assert "embedding model" in told["b"].notes[0]
    assert "/v1/embeddings" in told["b"].notes[1]
    assert (told["c"].kind, told["c"].state, told["c"].memory) == (None, "unusable", None)
    assert (told["d"].kind, told["d"].state, told["d"].chosen) == (Kind.CHAT, "ready", True)
    assert (told["a"].chosen, told["a"].state) == (False, "registered")


def test_showing_one_takes_its_digest(folder):
    put(folder, "a.gguf")
    registry = looked(folder)
    assert listed(registry)[0].digest is None
    assert listed_one(registry, "a").digest == hashlib.sha256(WHOLE).hexdigest()
