"""/v1/embeddings and /v1/rerank of models in the models folder: real ones, loaded when they are asked.

The reranker's head is made up: what is proven is whence its scores come, and not what they are worth.
"""

import asyncio
import base64
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from search.embedder import Embedder
from tests.clients.recorded import assert_as_promised
from tests.clients.relay import relay_to
from tests.llm.gguf_files import WHOLE
from tests.llm.minilm_gguf import write_embedder, write_reranker
from tests.places import ROOT, chat_model, embedding_model
from tests.running import Appliance, running
from tests.web.openai_spec import assert_valid
from tests.web.our_spec import assert_described, strict

pytestmark = pytest.mark.models

EMBEDDINGS, RERANK, CHAT = "/v1/embeddings", "/v1/rerank", "/v1/chat/completions"
TEXTS = ["Water is boiled for a minute.", "Light the stove with birch bark.", "Größe naïve Äpfel 東京"]
JUDGED = {
    "model": "judges",
    "query": "light the stove",
    "documents": ["water", {"text": "the stove"}, "light the stove with bark"],
}
TALK = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """One with a chat model, an embedding model and a reranker in its folder, and one text at a time."""
    folder = tmp_path_factory.mktemp("house")
    models = folder / "models"
    (models / "chat").mkdir(parents=True)
    (models / "chat" / "talks.gguf").symlink_to(chat_model())
    write_embedder(models / "embedding" / "reads.gguf", embedding_model())
    write_reranker(models / "rerank" / "judges.gguf", embedding_model())
    (models / "chat" / "adds.gguf").write_bytes(WHOLE.replace(b"general.name", b"adapter.type"))
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = "[llm]\nparallel = 1\nloaded_at_once = 3\n[llm.queue]\nper_reader = 2\n"
    with running(folder, settings=settings, models=models, ready=False) as house:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        yield house


@pytest.fixture
def client(house: Appliance) -> Iterator[openai.OpenAI]:
    with relay_to(house.url) as relay:
        with openai.OpenAI(base_url=f"{relay.listen()}/v1", api_key="none needed", max_retries=0) as client:
            yield client
        assert_as_promised(relay)


def state_of(house: Appliance, name: str) -> str:
    return str(house.get(f"/api/models/{name}")[1]["state"])


# --- vectors ------------------------------------------------------------------------------------------


def test_the_vectors_agree_with_the_librarys_own(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model="reads", input=TEXTS)  # in base64, as the client asks by itself
    wanted = Embedder(embedding_model(), threads=1).embed(TEXTS)
    assert [entry.index for entry in made.data] == [0, 1, 2]
    for entry, vector in zip(made.data, wanted, strict=True):
        assert np.linalg.norm(entry.embedding) == pytest.approx(1, abs=1e-5)
        assert float(np.dot(entry.embedding, vector)) > 0.98
    assert made.model == "reads"
    own = [len(row) for row in Embedder(embedding_model(), threads=1).tokens(TEXTS)]
    assert made.usage.prompt_tokens == made.usage.total_tokens == sum(own)


def test_floats_base64_and_token_ids_are_the_same_vector(house: Appliance, client: openai.OpenAI) -> None:
    _, plain = house.post(EMBEDDINGS, {"model": "reads", "input": "water", "encoding_format": "float"})
    assert_valid("CreateEmbeddingResponse", plain)
    _, encoded = house.post(EMBEDDINGS, {"model": "reads", "input": ["water"], "encoding_format": "base64"})
    raw = base64.b64decode(encoded["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4") == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)
    vector = plain["data"][0]["embedding"]
    for given in ("water", ["water"], [2300], [[2300]]):
        made = client.embeddings.create(model="reads", input=given)
        assert made.data[0].embedding == pytest.approx(vector, abs=1e-6)
        assert made.usage.prompt_tokens == 3  # framed by two


def test_a_long_list_keeps_its_order(client: openai.OpenAI) -> None:
    texts = [f"{'water ' * (n % 7)}jar number {n}" for n in range(40)]
    made = client.embeddings.create(model="reads", input=texts)
    assert [entry.index for entry in made.data] == list(range(40))
    for at in (0, 13, 39):
        alone = client.embeddings.create(model="reads", input=texts[at]).data[0].embedding
        assert float(np.dot(alone, made.data[at].embedding)) > 0.9999


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [10**9]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": ["a", "b", [10**9]]}, "input[2]"),
        ({"dimensions": 128}, "dimensions"),
        ({"dimensions": 1024}, "dimensions"),
        ({"model": "talks"}, "model"),
        ({"model": "judges"}, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(house: Appliance, change: dict[str, Any], param: str) -> None:
    status, answer = house.post(EMBEDDINGS, {"model": "reads", "input": "a"} | change)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert_valid("ErrorResponse", answer)
    assert house.post(EMBEDDINGS, {"model": "reads", "input": "a", "dimensions": 384})[0] == 200


def test_too_long_a_text_is_refused_with_both_counts(house: Appliance) -> None:
    texts = [*["a"] * 9, "water " * 600]
    status, answer = house.post(EMBEDDINGS, {"model": "reads", "input": texts})
    assert (status, answer["error"]["param"]) == (400, "input[9]")
    assert "602 tokens" in answer["error"]["message"]
    assert "512" in answer["error"]["message"]


@pytest.mark.parametrize("text", ["\0", " ", "\ud800", "[CLS] [SEP] [MASK]", "\u202e\ufeff", "🪵" * 100])
def test_odd_texts_have_a_vector_or_a_reason(house: Appliance, text: str) -> None:
    status, _ = house.post(EMBEDDINGS, {"model": "reads", "input": text})
    assert status in {200, 400}
    assert house.post(EMBEDDINGS, {"model": "reads", "input": "a"})[0] == 200


# --- scores -------------------------------------------------------------------------------------------


def test_documents_come_back_by_the_engines_scores(house: Appliance) -> None:
    status, answer = house.post(RERANK, JUDGED)
    assert status == 200, answer
    scores = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert len(set(scores.values())) == 3
    assert all(0 <= score <= 1 for score in scores.values())
    assert answer["model"] == "judges"
    # [CLS] light the stove [SEP] ...: five, and 1, 2 and 5. This engine puts nothing at the end.
    assert answer["usage"] == {"prompt_tokens": 23, "total_tokens": 23}
    assert house.post(RERANK, JUDGED)[1]["results"] == answer["results"]
    # Each pair is judged by itself, and in whichever place.
    _, turned = house.post(RERANK, JUDGED | {"documents": JUDGED["documents"][::-1]})
    for result in turned["results"]:
        assert result["relevance_score"] == pytest.approx(scores[2 - result["index"]], abs=1e-4)


def test_only_the_best_and_with_their_text_if_that_is_asked_for(house: Appliance) -> None:
    _, whole = house.post(RERANK, JUDGED)
    _, answer = house.post(RERANK, JUDGED | {"top_n": 2, "return_documents": True})
    assert [result["index"] for result in answer["results"]] == [
        result["index"] for result in whole["results"][:2]
    ]
    texts = ["water", "the stove", "light the stove with bark"]
    assert all(result["document"] == {"text": texts[result["index"]]} for result in answer["results"])
    assert_described(strict(house, RERANK, "application/json"), answer)


def test_a_document_that_is_too_long_is_refused_by_its_number(house: Appliance) -> None:
    status, answer = house.post(RERANK, JUDGED | {"documents": [*["a"] * 5, "water " * 600]})
    assert (status, answer["error"]["param"]) == (400, "documents[5]")
    assert "512" in answer["error"]["message"]


@pytest.mark.parametrize("model", ["reads", "talks", "almanac"])
def test_one_that_does_not_judge_is_told_where_it_is_asked(house: Appliance, model: str) -> None:
    status, answer = house.post(RERANK, JUDGED | {"model": model})
    assert (status, answer["error"]["param"]) == (400, "model")
    assert "ask it at /v1/" in answer["error"]["message"]


def test_without_a_name_the_librarys_own_is_meant(house: Appliance) -> None:
    unnamed = {name: value for name, value in JUDGED.items() if name != "model"}
    status, answer = house.post(RERANK, unnamed)
    assert status == 400
    assert "search.reranker" in answer["error"]["message"]
    assert house.post(RERANK, JUDGED | {"model": "nonsuch"})[0] == 404


# --- one house ----------------------------------------------------------------------------------------


def test_they_are_listed_and_chatted_with_by_nobody(house: Appliance, client: openai.OpenAI) -> None:
    kinds = {model.id: model.kind for model in client.models.list()}  # type: ignore[attr-defined]
    assert (kinds["reads"], kinds["judges"], kinds["talks"]) == ("embedding", "rerank", "chat")
    assert kinds["almanac"] == "library"
    ids = [model.id for model in client.models.list()]
    assert ids.count("reads") == ids.count("judges") == 1
    assert "adds" not in ids
    assert client.models.retrieve("judges").id == "judges"
    for name, where in (("reads", "/v1/embeddings"), ("judges", "/v1/rerank")):
        for path, body in (
            (CHAT, {"messages": TALK}),
            ("/v1/completions", {"prompt": "a"}),
            ("/v1/responses", {"input": "Hi"}),
        ):
            status, answer = house.post(path, body | {"model": name})
            assert (status, answer["error"]["param"]) == (400, "model")
            assert where in answer["error"]["message"]
    status, answer = house.post(EMBEDDINGS, {"model": "adds", "input": "a"})
    assert (status, "LoRA" in answer["error"]["message"]) == (404, True)


def test_the_default_goes_on_answering(house: Appliance) -> None:
    assert house.post(EMBEDDINGS, {"model": "reads", "input": "a"})[0] == 200
    answer = {"model": "talks", "messages": TALK, "max_tokens": 3}
    assert house.post(CHAT, answer)[0] == 200
    assert house.get("/status")[1]["model"]["id"] == "talks"


def test_the_command_lists_loads_and_unloads_them_and_refuses_to_chat_with_them(house: Appliance) -> None:
    def almanac(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "appliance", "models", *words, "--url", house.url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    listed = almanac().stdout
    assert "embedding/reads.gguf  embedding" in listed
    assert "programs ask it at /v1/embeddings" in listed
    assert "programs ask it at /v1/rerank" in listed
    assert "Its scores are rough" in listed
    assert almanac("load", "reads").returncode == 0
    assert state_of(house, "reads") == "ready"
    assert house.get("/api/models/reads")[1]["device"]
    assert almanac("unload", "reads").returncode == 0
    assert state_of(house, "reads") == "unloaded"
    refused = almanac("use", "reads")
    assert refused.returncode != 0
    assert "it is an embedding model" in refused.stderr + refused.stdout
    assert house.post("/api/models/default", {"model": "judges"})[0] == 400
    # Whoever asks it has it loaded again.
    assert house.post(EMBEDDINGS, {"model": "reads", "input": "a"})[0] == 200
    assert state_of(house, "reads") == "ready"


def test_who_leaves_frees_the_slot_and_who_is_one_too_many_is_told(house: Appliance) -> None:
    long = {"model": "reads", "input": ["birch bark " * 250] * 400}

    async def scene() -> None:
        async with httpx.AsyncClient(base_url=house.url, timeout=60) as client:
            asked = [asyncio.create_task(client.post(EMBEDDINGS, json=long)) for _ in range(3)]
            queue = {}
            for _ in range(200):
                models = (await client.get("/status")).json()["models"]
                queue = next(one["queue"] for one in models if one["id"] == "reads")
                if (queue["running"], queue["waiting"]) == (1, 2):
                    break
                await asyncio.sleep(0.05)
            assert (queue["running"], queue["waiting"]) == (1, 2)
            refused = await client.post(EMBEDDINGS, json={"model": "reads", "input": "a"})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert_valid("ErrorResponse", refused.json())
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            async with asyncio.timeout(10):  # no more of the 1,200 long texts than is in hand
                for _ in range(100):
                    again = await client.post(EMBEDDINGS, json={"model": "reads", "input": "a"})
                    if again.status_code == 200:
                        return
                    await asyncio.sleep(0.05)
            pytest.fail("the slot was not freed")

    asyncio.run(scene())


def test_between_its_batches_a_long_list_lets_others_go_first(house: Appliance) -> None:
    long = {"model": "reads", "input": ["birch bark " * 60] * 40}
    house.post(EMBEDDINGS, {"model": "reads", "input": "a"})
    done: list[str] = []

    def ask(name: str, body: object) -> None:
        assert house.post(EMBEDDINGS, body)[0] == 200
        done.append(name)

    first = threading.Thread(target=ask, args=("long", long))
    first.start()
    house.until(
        lambda: any(
            one["id"] == "reads" and one["queue"]["running"] for one in house.get("/status")[1]["models"]
        )
    )
    ask("short", {"model": "reads", "input": "a"})
    first.join()
    assert done == ["short", "long"]
