"""Another embedding model: a second index beside the first, which serves until the second is whole.

The second model is the starter model with its vectors turned round and cut to
half their length, made here with ONNX itself: a real graph of other dimensions.
"""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from library.errors import RecordError
from library.values import DocumentState
from library.watermark import Watermark
from search.values import Mode
from tests.ingest.test_indexing import House, until
from tests.places import embedding_model

pytestmark = pytest.mark.models

D = 192


def write_other_model(folder: Path, *, breaks: bool = False) -> None:
    """The starter model with a random orthogonal projection to D dimensions behind it."""
    starter = embedding_model()
    folder.mkdir(parents=True)
    shutil.copy(starter / "tokenizer.json", folder)
    model = onnx.load(str(starter / "model.int8.onnx"))
    graph = model.graph
    turned, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(384, D)))
    graph.initializer.append(numpy_helper.from_array(turned.astype(np.float32), "turn"))
    [out] = graph.output
    graph.node.append(helper.make_node("MatMul", [out.name, "turn"], ["turned"]))
    graph.node.append(helper.make_node("LpNormalization", ["turned"], ["other"], axis=-1, p=2))
    graph.output.remove(out)
    graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", D]))
    (folder / "model.int8.onnx").write_bytes(b"no model" if breaks else model.SerializeToString())
    (folder / "model.json").write_text(
        json.dumps({"name": "other", "digest": "0123456789abcdef", "dimensions": D})
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with the starter model and another one."""
    models = tmp_path / "models"
    (models / "embedding").mkdir(parents=True)
    (models / "embedding" / "all-MiniLM-L6-v2").symlink_to(embedding_model())
    write_other_model(models / "embedding" / "other")
    return models


@pytest.fixture
def house(tmp_path: Path, models: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.config = configured(house, models, "all-MiniLM-L6-v2")
    yield house
    house.close()


def configured(house: House, models: Path, model: str) -> "msgspec.Struct":
    paths = msgspec.structs.replace(house.config.paths, models=str(models))
    search = msgspec.structs.replace(house.config.search, embedding_model=model)
    return msgspec.structs.replace(house.config, paths=paths, search=search)


def filled(house: House, documents: int = 30) -> House:
    for n in range(documents):
        house.drop(f"s/{n}.md", f"# Note {n}\n\n" + f"The colony number {n} is inspected. " * 30)
    house.open()
    for n in range(documents):
        house.findable(f"s/{n}.md")
    return house


def similarities(house: House) -> list[float | None]:
    found = house.retriever.search("the inspection of a colony", mode=Mode.VECTOR, limit=5)
    return [passage.similarity for passage in found.passages]


def test_the_old_index_serves_until_the_new_one_is_whole_and_no_document_is_ever_less_than_findable(
    house: House, models: Path
) -> None:
    filled(house)
    old = house.room.stacks.meaning.serving.model
    chunks = house.room.stacks.vectors.count()
    house.close()
    house.config = configured(house, models, "other")
    house.open()
    assert house.room.stacks.meaning.serving.model == old
    watching, states, empty = threading.Event(), set(), []

    def watch() -> None:
        while not watching.is_set():
            states.update(state for state, count in house.catalogue.counts().items() if count)
            if not house.retriever.search("colony", mode=Mode.VECTOR).passages:
                empty.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    house.drop("s/late.md", "# Late\n\nA colony that came while the index was being built.\n")
    until(lambda: house.room.stacks.meaning.serving.model.startswith("other"))
    watching.set()
    watcher.join()
    house.findable("s/late.md")
    assert states <= {
        DocumentState.FINDABLE,
        DocumentState.FINDABLE_WORDS,
        DocumentState.WAITING,
        DocumentState.READING,
    }
    assert not empty
    meaning = house.room.stacks.meaning
    assert meaning.building is None
    assert meaning.serving.embedder.dimensions == D
    assert meaning.serving.vectors.count() == house.room.stacks.lexical.count() == chunks + 1
    assert all(similarity and similarity > 0.2 for similarity in similarities(house))
    until(
        lambda: (
            [f.name for f in (house.config.data / "index" / "vectors").iterdir()]
            == [meaning.serving.generation]
        )
    )
    house.close()
    house.open()  # and it stays so
    assert house.room.stacks.meaning.serving.embedder.dimensions == D
    assert house.room.stacks.meaning.building is None


def test_it_goes_on_after_an_interruption_where_it_stood(
    house: House, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(house, 60)
    house.close()
    house.config = configured(house, models, "other")
    raise_to, durable = Watermark.raise_to, 0

    def until_interrupted(mark: Watermark, upto: Mapping[str, int]) -> None:
        nonlocal durable
        if durable:
            raise RecordError("The disk is gone.")
        raise_to(mark, upto)
        durable = len(upto)

    monkeypatch.setattr(Watermark, "raise_to", until_interrupted)
    house.open()
    until(lambda: "The disk is gone" in str(house.room.pipeline.trouble))
    house.close()
    assert 0 < durable < 60
    computed_later = 0

    def counted(mark: Watermark, upto: Mapping[str, int]) -> None:
        nonlocal computed_later
        raise_to(mark, upto)
        computed_later += len(upto)

    monkeypatch.setattr(Watermark, "raise_to", counted)
    house.open()
    until(lambda: house.room.stacks.meaning.serving.model.startswith("other"))
    assert durable + computed_later == 60
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count() == 60
    assert house.catalogue.counts()[DocumentState.FINDABLE] == 60


def test_turning_back_in_the_middle_keeps_the_index_that_serves(house: House, models: Path) -> None:
    filled(house)
    first = house.room.stacks.meaning.serving.model
    house.close()
    house.config = configured(house, models, "other")
    house.open()
    house.close()
    house.config = configured(house, models, "all-MiniLM-L6-v2")
    house.open()
    assert house.room.stacks.meaning.serving.model == first
    assert house.room.stacks.meaning.building is None
    assert house.catalogue.counts()[DocumentState.FINDABLE] == 30
    serving = house.room.stacks.meaning.serving.generation
    assert [folder.name for folder in (house.config.data / "index" / "vectors").iterdir()] == [serving]


def test_a_new_model_that_does_not_work_leaves_the_old_one_serving_and_says_so(
    house: House, models: Path
) -> None:
    filled(house, 3)
    house.close()
    write_other_model(models / "embedding" / "broken", breaks=True)
    house.config = configured(house, models, "broken")
    house.open()
    trouble = until(lambda: house.room.pipeline.trouble)
    assert "cannot be loaded" in str(trouble)
    assert similarities(house)[0]
    house.drop("s/new.md", "# New\n\nA new note about a colony.\n")
    assert house.findable("s/new.md")


def test_where_the_old_models_files_are_gone_the_new_one_serves_and_words_are_found_meanwhile(
    house: House, models: Path
) -> None:
    filled(house, 3)
    house.close()
    (models / "embedding" / "all-MiniLM-L6-v2").unlink()
    house.config = configured(house, models, "other")
    house.open()
    assert house.room.stacks.meaning.serving.embedder.dimensions == D
    assert house.found("colony")
    for n in range(3):
        house.findable(f"s/{n}.md")
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count()
