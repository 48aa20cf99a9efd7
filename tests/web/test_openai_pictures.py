"""Pictures in chats and responses, on the real engine and the starter model with eyes that were made up for it.

Nobody publishes a projector for the starter model, so these tests write one whose
weights are dice (`tests.llm.tiny_eyes`). It sees nothing that means anything. What
is shown is that a picture goes in, as the tokens that it should be, that another
is not the same, and that whatever else is sent in its place is refused in words.
"""

import base64
import contextlib
import http.client
import json
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from library.errors import InvalidRequest
from tests.clients.recorded import assert_as_promised
from tests.clients.relay import relay_to
from tests.drawn import WEBP, bmp, data_url, gif, jpeg, png, png_of
from tests.llm.tiny_eyes import TOKENS, tiny_eyes
from tests.llm.tiny_llama import tiny_llama
from tests.places import chat_model, embedding_model
from tests.running import Appliance, running
from tests.web.openai_spec import assert_valid
from web.openai.messages import Picture
from web.openai.pictures import MOST_PICTURES, MOST_SCANS, check_pictures, details
from web.problems import LARGEST_WITH_PICTURES_BYTES

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
STARTER, BLIND = "starter", "blind"
CONTEXT = 512
RED, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))
SETTINGS = f"[llm]\ncontext_tokens = {CONTEXT}\nparallel = 2\nloaded_at_once = 2\n"

models = pytest.mark.models


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house whose starter model sees; beside it a model that does not. Its PATH leads to an `ffprobe` that tells."""
    folder = tmp_path_factory.mktemp("seeing")
    chat = folder / "models" / "chat"
    chat.mkdir(parents=True)
    (folder / "models" / "embedding").mkdir()
    (folder / "models" / "embedding" / embedding_model().name).symlink_to(embedding_model())
    (chat / f"{STARTER}.gguf").symlink_to(chat_model())
    (chat / f"{BLIND}.gguf").write_bytes(tiny_llama())
    (chat / "mmproj.gguf").write_bytes(tiny_eyes())
    programs = folder / "programs"
    programs.mkdir()
    for name in ("ffprobe", "ffmpeg"):
        (programs / name).write_text(f"#!/bin/sh\necho asked > {folder}/{name}-was-asked\n")
        (programs / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        chosen = f'model = "chat/{STARTER}.gguf"\n'
        with running(folder, models=folder / "models", settings=SETTINGS + chosen) as house:
            yield house


@pytest.fixture
def eyed(seeing: Appliance) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, unmodified; what it was sent is held against their description."""
    with relay_to(seeing.url) as relay:
        with openai.OpenAI(base_url=f"{relay.listen()}/v1", api_key="none needed", max_retries=0) as client:
            yield client
        assert_as_promised(relay)


def shown(*urls: str, text: str = "What is this?", **image: Any) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url} | image} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def given_response(*urls: str, **image: Any) -> list[dict[str, Any]]:
    parts = [{"type": "input_image", "image_url": url, "detail": "auto"} | image for url in urls]
    return [{"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, *parts]}]


def answered(house: Appliance, **body: Any) -> dict[str, Any]:
    """A whole answer, made anew, and valid."""
    asked = {"model": STARTER, "max_tokens": 4, "temperature": 0} | body
    status, _, answer = house.request("POST", CHAT, asked, {"cache-control": "no-store"})
    assert status == 200, answer
    assert_valid("CreateChatCompletionResponse", json.loads(answer))
    return json.loads(answer)  # type: ignore[no-any-return]


def prompt_tokens(house: Appliance, **body: Any) -> int:
    return int(answered(house, **body)["usage"]["prompt_tokens"])


def logprob(house: Appliance, picture: bytes, kind: str = "png") -> float:
    """Of the first token of an answer about it."""
    answer = answered(house, messages=shown(data_url(picture, kind)), logprobs=True)
    return float(answer["choices"][0]["logprobs"]["content"][0]["logprob"])


@models
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_picture_is_as_many_tokens_as_it_has_patches(seeing: Appliance, count: int) -> None:
    words = prompt_tokens(seeing, messages=shown())
    assert prompt_tokens(seeing, messages=shown(*[data_url(RED)] * count)) == words + count * TOKENS


@models
def test_two_pictures_are_not_the_same_and_one_is_itself(seeing: Appliance) -> None:
    red, blue, again = (logprob(seeing, picture) for picture in (RED, BLUE, RED))
    assert math.isclose(red, again, abs_tol=1e-3)
    assert not math.isclose(red, blue, abs_tol=1e-2)


@models
@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (png(), "png"),
        (jpeg(), "jpeg"),
        (jpeg(), "jpg"),
        (gif(), "gif"),
        (bmp(), "bmp"),
        (bmp(5, -5), "x-ms-bmp"),
    ],
    ids=["png", "jpeg", "jpg", "gif", "bmp", "bmp from its top"],
)
def test_every_format_is_decoded(seeing: Appliance, picture: bytes, kind: str) -> None:
    words = prompt_tokens(seeing, messages=shown())
    assert prompt_tokens(seeing, messages=shown(data_url(picture, kind))) == words + TOKENS


@models
def test_a_bright_photograph_is_not_a_dark_one(seeing: Appliance) -> None:
    bright, dark = (logprob(seeing, jpeg(dark=dark), "jpeg") for dark in (False, True))
    assert not math.isclose(bright, dark, abs_tol=1e-2)


@models
def test_a_stream_says_what_the_whole_answer_says_and_counts_the_same(eyed: openai.OpenAI) -> None:
    asked: Any = {"model": STARTER, "messages": shown(data_url(RED)), "max_tokens": 8, "temperature": 0}
    whole = eyed.chat.completions.create(**asked)
    chunks = list(eyed.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert whole.choices[0].message.content
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage
    assert whole.usage
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > TOKENS


@models
def test_a_response_counts_them_too_whole_and_streamed(eyed: openai.OpenAI) -> None:
    asked: Any = {"model": STARTER, "max_output_tokens": 4, "temperature": 0}
    words = eyed.responses.create(**asked, input=given_response())
    whole = eyed.responses.create(**asked, input=given_response(data_url(RED)))
    assert whole.usage
    assert words.usage
    assert whole.usage.input_tokens == words.usage.input_tokens + TOKENS
    *_, last = eyed.responses.create(**asked, input=given_response(data_url(RED)), stream=True)
    assert last.type == "response.incomplete"  # four tokens are too few
    assert last.response.output_text == whole.output_text != ""


@models
def test_the_clients_exception_names_what_was_wrong(eyed: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        eyed.chat.completions.create(model=STARTER, messages=shown("https://example.org/a.png"))  # type: ignore[arg-type]
    assert refused.value.param == "messages[0].content[1].image_url.url"
    assert "nothing is fetched here" in refused.value.message


COLOUR = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"],
        },
    },
}


@models
@pytest.mark.parametrize("earlier", [False, True], ids=["asked", "after a call"])
def test_a_function_is_called_about_a_picture(seeing: Appliance, earlier: bool) -> None:
    """The tools are told in plain words here, which rewrites the conversation: its pictures stay in it."""

    def asked(*urls: str) -> dict[str, Any]:
        messages = shown(*urls)
        if earlier:
            function = {"name": "paint", "arguments": '{"colour": "red"}'}
            messages += [
                {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": function}]},
                {"role": "tool", "tool_call_id": "a", "content": "painted"},
            ]
        return answered(seeing, messages=messages, tools=[COLOUR], tool_choice="required", max_tokens=60)

    with_picture, without = asked(data_url(RED)), asked()
    (call,) = with_picture["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["colour"] in {"red", "blue"}
    counted = with_picture["usage"]["prompt_tokens"] - without["usage"]["prompt_tokens"]
    assert abs(counted - TOKENS) <= 2  # parts are not joined by the same white space as text


@models
def test_pictures_past_the_context_are_refused_with_both_counts(seeing: Appliance) -> None:
    content = shown(*[data_url(RED)] * 16, text="water " * 300)
    words = prompt_tokens(seeing, messages=shown(text="water " * 300))
    status, answer = seeing.post(CHAT, {"model": STARTER, "messages": content})
    assert (status, answer["error"]["param"]) == (400, "messages"), answer
    assert (
        f"hold {words + 16 * TOKENS} tokens and the model's context {CONTEXT}" in answer["error"]["message"]
    )


@models
def test_how_closely_they_are_looked_at_is_not_honoured_and_said_so(seeing: Appliance) -> None:
    for path, asked, told in (
        (CHAT, {"messages": shown(data_url(RED), detail="low")}, "image_url.detail"),
        (RESPONSES, {"input": given_response(data_url(RED), detail="high")}, "input_image.detail"),
        (CHAT, {"messages": shown(data_url(RED), detail="auto")}, None),
    ):
        status, headers, _ = seeing.request("POST", path, {"model": STARTER} | asked)
        assert (status, headers.get("almanac-ignored")) == (200, told)


@models
def test_an_answer_about_another_picture_is_not_given_again(seeing: Appliance) -> None:
    def cache(picture: bytes) -> str:
        asked = {"model": STARTER, "messages": shown(data_url(picture), text="Again?"), "temperature": 0}
        return seeing.request("POST", CHAT, asked | {"max_tokens": 2})[1]["almanac-cache"]

    assert [cache(picture) for picture in (RED, RED, BLUE, BLUE)] == ["miss", "hit", "miss", "hit"]


@models
def test_a_model_that_does_not_see_names_those_that_do(seeing: Appliance) -> None:
    for path, asked, param in (
        (CHAT, {"messages": shown(data_url(RED))}, "messages"),
        (RESPONSES, {"input": given_response(data_url(RED))}, "input"),
    ):
        status, answer = seeing.post(path, {"model": BLIND} | asked)
        assert (status, answer["error"]["param"]) == (400, param)
        assert_valid("ErrorResponse", answer)
        assert f"the model {BLIND} does not see" in answer["error"]["message"]
        assert f"Models here that see: {STARTER}." in answer["error"]["message"]


@models
def test_where_no_model_sees_it_is_said_what_would(house: Appliance, model: str) -> None:
    status, answer = house.post(CHAT, {"model": model, "messages": shown(data_url(RED))})
    assert (status, answer["error"]["param"]) == (400, "messages")
    assert "No model here sees: a chat model does once its projector" in answer["error"]["message"]


@models
@pytest.mark.parametrize("model", ["almanac", "almanac:water"])
def test_the_library_is_asked_in_words(seeing: Appliance, model: str) -> None:
    for path, asked, param in (
        (CHAT, {"messages": shown(data_url(RED))}, "messages[0].content[1]"),
        (RESPONSES, {"input": given_response(data_url(RED))}, "input[0].content[1]"),
    ):
        status, answer = seeing.post(path, {"model": model} | asked)
        assert (status, answer["error"]["param"]) == (400, param), answer
        assert "the library is asked in words" in answer["error"]["message"]


@models
def test_who_sees_is_told_everywhere(seeing: Appliance) -> None:
    told = {one["id"]: one for one in seeing.get("/v1/models")[1]["data"]}
    assert told[STARTER]["input_modalities"] == ["text", "image"]
    assert told[BLIND]["input_modalities"] == told["almanac"]["input_modalities"] == ["text"]
    assert_valid("ListModelsResponse", seeing.get("/v1/models")[1])
    assert_valid("Model", seeing.get(f"/v1/models/{STARTER}")[1])
    listed = {one["id"]: one for one in seeing.get("/api/models")[1]["items"]}
    assert (listed[STARTER]["kind"], listed[STARTER]["projector"]) == ("vision", "chat/mmproj.gguf")
    assert (listed[BLIND]["kind"], listed[BLIND]["projector"]) == ("chat", None)
    assert listed["mmproj"]["kind"] == "projector"
    assert seeing.get("/status")[1]["model"]["eyes"] == "It sees pictures, with chat/mmproj.gguf."


HUGE = png_of(60_000, 60_000, b"")
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("by http", {"url": "http://127.0.0.1:9/a.png"}, ".image_url.url"),
    ("by https", {"url": "https://example.org/a.png"}, ".image_url.url"),
    ("a file", {"url": "file:///etc/passwd"}, ".image_url.url"),
    ("base64 without its head", {"url": base64.b64encode(RED).decode()}, ".image_url.url"),
    ("no base64", {"url": "data:image/png;base64,!!!!"}, ".image_url.url"),
    ("base64 that breaks off", {"url": data_url(RED)[:-3]}, ".image_url.url"),
    ("base64 of two", {"url": data_url(RED) + "," + data_url(RED)}, ".image_url.url"),
    ("nothing", {"url": "data:image/png;base64,"}, ".image_url.url"),
    ("a text", {"url": data_url(b"What is this? It is a text.")}, ".image_url.url"),
    ("a page", {"url": "data:text/html;base64,PGI+"}, ".image_url.url"),
    (
        "a drawing",
        {"url": data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml")},
        ".image_url.url",
    ),
    ("a sound", {"url": data_url(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "png")}, ".image_url.url"),
    ("a film", {"url": data_url(b"\0\0\0\x18ftypmp42" + bytes(40), "png")}, ".image_url.url"),
    ("WebP", {"url": data_url(WEBP, "webp")}, ".image_url.url"),
    ("too many pixels", {"url": data_url(HUGE)}, ".image_url.url"),
    (
        "a megabyte that unpacks to a thousand",
        {"url": data_url(png_of(1, 1, bytes(2**26)))},
        ".image_url.url",
    ),
    (
        "a photograph of a thousand scans",
        {"url": data_url(jpeg(scans=1000), "jpeg")},
        ".image_url.url",
    ),
    ("no URL", {}, ".image_url.url"),
    ("a URL of another kind", {"url": 7}, ".image_url.url"),
    ("a detail that is none", {"url": data_url(RED), "detail": "closest"}, ".image_url.detail"),
]


@models
@pytest.mark.parametrize(("image", "param"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_what_is_no_picture_is_refused_by_its_name(
    seeing: Appliance, image: dict[str, Any], param: str
) -> None:
    content = [{"type": "image_url", "image_url": image}]
    for stream in (False, True):
        asked = {"model": STARTER, "messages": [{"role": "user", "content": content}], "stream": stream}
        status, answer = seeing.post(CHAT, asked)
        assert (status, answer["error"]["param"]) == (400, f"messages[0].content[0]{param}"), answer
        assert_valid("ErrorResponse", answer)
    if isinstance(image.get("url"), str) and "detail" not in image:
        asked = {"model": STARTER, "input": given_response(image["url"])}
        status, answer = seeing.post(RESPONSES, asked)
        assert (status, answer["error"]["param"]) == (400, "input[0].content[1].image_url"), answer


@models
def test_only_the_user_shows_pictures(seeing: Appliance) -> None:
    part = shown(data_url(RED))[0]["content"]
    for role in ("system", "assistant"):
        messages = [{"role": role, "content": part}, {"role": "user", "content": "Hi"}]
        status, answer = seeing.post(CHAT, {"model": STARTER, "messages": messages})
        assert (status, answer["error"]["param"]) == (400, "messages[0].content[1]"), answer


@models
def test_too_many_and_too_large_together(seeing: Appliance) -> None:
    asked = {"model": STARTER, "messages": shown(*[data_url(RED)] * (MOST_PICTURES + 1))}
    status, answer = seeing.post(CHAT, asked)
    assert (status, answer["error"]["param"]) == (400, f"messages[0].content[{MOST_PICTURES + 1}]")
    large = data_url(png_of(4000, 4000, bytes(12_001 * 4000)))
    status, answer = seeing.post(CHAT, {"model": STARTER, "messages": shown(large, large)})
    assert (status, answer["error"]["param"]) == (400, "messages[0].content[2].image_url.url")
    assert prompt_tokens(seeing, messages=shown(large)) == prompt_tokens(seeing, messages=shown()) + TOKENS


@models
def test_a_body_may_be_longer_for_its_pictures_and_for_nothing_else(seeing: Appliance) -> None:
    noise = random.Random(1).randbytes(3 * 1300 * 1000)
    photograph = png_of(
        1300, 1000, b"".join(b"\0" + noise[at : at + 3900] for at in range(0, len(noise), 3900))
    )
    asked = {"model": STARTER, "messages": shown(data_url(photograph)), "max_tokens": 1}
    assert len(json.dumps(asked)) > 5_000_000
    assert seeing.request("POST", CHAT, asked)[0] == 200
    for path, body in (
        (CHAT, {"model": STARTER, "messages": shown(text="x" * 5_000_000)}),
        (RESPONSES, {"model": STARTER, "input": "x" * 5_000_000}),
        (CHAT, {"model": STARTER, "messages": shown("x" * LARGEST_WITH_PICTURES_BYTES)}),
    ):
        status, answer = seeing.post(path, body)
        assert status == 413
        assert "8 MiB with its pictures, or than 4 MiB without" in answer["error"]["message"]


def mutilated(picture: bytes, dice: random.Random) -> bytes:
    """Cut short, with bytes turned, or with something else at its end."""
    broken = bytearray(picture)
    match dice.randrange(3):
        case 0:
            del broken[dice.randrange(len(broken)) :]
        case 1:
            for _ in range(dice.randint(1, 4)):
                broken[dice.randrange(len(broken))] = dice.randrange(256)
        case 2:
            broken += dice.choice((gif(), jpeg(), b"<script>", bytes(1000)))
    return bytes(broken)


@models
def test_hostile_pictures_cost_an_honest_error_each_and_nobody_else_anything(seeing: Appliance) -> None:
    """Cut, turned, grown: whatever comes of it, it is said, no film is looked for, and the engine lives."""
    dice = random.Random(5)
    whole = [(png(40, 40), "png"), (jpeg(64, 64), "jpeg"), (gif(), "gif"), (bmp(20, 20), "bmp")]
    whole.append((jpeg(8, 8, stated=(4000, 4000)), "jpeg"))  # a photograph of which most is not there
    pid = worker_pid(seeing)
    statuses = set()
    for _ in range(80):
        picture, kind = dice.choice(whole)
        broken = mutilated(picture, dice)
        asked = {"model": STARTER, "messages": shown(data_url(broken, kind)), "max_tokens": 1}
        status, answer = seeing.post(CHAT, asked)
        statuses.add(status)
        assert status in {200, 400}, (status, answer, base64.b64encode(broken))
        if status == 400:
            assert answer["error"]["param"].startswith("messages")
    assert statuses == {200, 400}
    assert prompt_tokens(seeing, messages=shown(data_url(RED)))
    assert worker_pid(seeing) == pid
    assert not list(seeing.folder.glob("*-was-asked"))


def worker_pid(house: Appliance) -> int:
    """Of the process that has the starter model."""
    assert house.process
    children = Path(f"/proc/{house.process.pid}/task").glob("*/children")
    pids = [int(pid) for tasks in children for pid in tasks.read_text().split()]
    (found,) = [
        pid
        for pid in pids
        if "llm.engines.worker" in Path(f"/proc/{pid}/cmdline").read_text()
        and chat_model().name in Path(f"/proc/{pid}/maps").read_text()
    ]
    return found


@models
def test_a_model_on_another_machine_is_shown_them_and_refuses_them_itself(
    seeing: Appliance, tmp_path: Path
) -> None:
    remotes = "".join(
        f'[[llm.remotes]]\nname = "far-{name}"\nurl = "{seeing.url}"\nmodel = "{name}"\n'
        for name in (STARTER, BLIND)
    )
    with running(tmp_path, models=None, settings=remotes, ready=False) as house:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        (far, _) = [one for one in house.get("/v1/models")[1]["data"] if one["id"].startswith("far-")]
        assert "input_modalities" not in far
        words = prompt_tokens(house, model=f"far-{STARTER}", messages=shown())
        asked = {"model": f"far-{STARTER}", "messages": shown(data_url(RED))}
        assert prompt_tokens(house, **asked) == words + TOKENS
        status, answer = house.post(CHAT, asked | {"model": f"far-{BLIND}"})
        assert status == 400
        assert "does not see" in answer["error"]["message"]
        status, answer = house.post(CHAT, asked | {"messages": shown("http://a/b")})
        assert (status, answer["error"]["param"]) == (400, "messages[0].content[1].image_url.url")


@models
def test_who_leaves_while_a_picture_is_looked_at_frees_the_slot(seeing: Appliance) -> None:
    connection = http.client.HTTPConnection(urlsplit(seeing.url).netloc, timeout=60)
    asked = {"model": STARTER, "messages": shown(data_url(RED)), "stream": True, "ignore_eos": True}
    for _ in range(4):  # twice as many as there are slots
        with contextlib.closing(connection):
            connection.request("POST", CHAT, json.dumps(asked), {"content-type": "application/json"})
            assert connection.getresponse().read(1)
    Appliance.until(lambda: not seeing.get("/status")[1]["model"]["queue"]["running"], 20)
    assert prompt_tokens(seeing, messages=shown(data_url(BLUE)))


@models
def test_nobodys_pictures_are_in_the_log(seeing: Appliance) -> None:
    secret = data_url(png(7, 7, (12, 34, 56)))
    assert prompt_tokens(seeing, messages=shown(secret))
    seeing.post(CHAT, {"model": STARTER, "messages": shown(data_url(png(7, 7, (12, 34, 56))[:60]))})
    log = (seeing.folder / "serve.log").read_text()
    assert secret[30:60] not in log
    assert secret[-40:] not in log


# --- what is looked at before an engine sees it ------------------------------------------------------


def picture_of(content: bytes) -> Picture:
    return Picture("messages[0].content[0]", "messages[0].content[0].image_url.url", data_url(content))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([png(), jpeg(), gif(), bmp(), WEBP]),
    st.binary(max_size=60),
    st.integers(0, 60),
    st.integers(),
)
def test_whatever_is_sent_is_measured_or_refused_in_words(
    whole: bytes, turned: bytes, at: int, cut: int
) -> None:
    broken = whole[:at] + turned + whole[at + len(turned) :]
    for content in (broken, broken[: cut % (len(broken) + 1)], turned):
        try:
            check_pictures([picture_of(content)])
        except InvalidRequest as refused:
            assert refused.parameter == "messages[0].content[0].image_url.url"
            assert str(refused).endswith(".")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 1000), (1000, 1), (300, 200)])
def test_a_whole_picture_of_any_shape_passes(width: int, height: int, interlaced: bool) -> None:
    rows = (b"\0" + bytes(3 * width)) * height
    if interlaced:  # seven passes, each of rows of its own
        rows = b""
        for left, top, across, down in (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ):
            wide, high = len(range(left, width, across)), len(range(top, height, down))
            rows += (b"\0" + bytes(3 * wide)) * high if wide else b""
    content = bytearray(png_of(width, height, rows))
    content[28] = interlaced
    check_pictures([picture_of(bytes(content))])


def test_a_photograph_may_have_some_scans_and_not_any_number() -> None:
    check_pictures([picture_of(jpeg(scans=MOST_SCANS))])
    for hostile in (jpeg(scans=MOST_SCANS + 1), jpeg()[:2] + b"\xff\xe0\0\2" * 5_000 + jpeg()[2:]):
        with pytest.raises(InvalidRequest, match="far more than a picture"):
            check_pictures([picture_of(hostile)])


def test_what_hangs_behind_a_photograph_is_not_its_matter() -> None:
    """Telephones put a film there, and another picture."""
    film = random.Random(2).randbytes(2**20) + b"\xff\xda" * 1000
    check_pictures([picture_of(jpeg() + film)])
    thumbnail = b"\xff\xe1" + (2 + len(jpeg(scans=99))).to_bytes(2, "big") + jpeg(scans=99)
    check_pictures([picture_of(jpeg()[:2] + thumbnail + jpeg()[2:])])


@pytest.mark.parametrize(
    "endless", [b"\xff\xd8\xff" + b"\xff" * 4_000_000, b"\xff\xd8" + b"\xff\xd0" * 2_000_000]
)
def test_what_never_says_its_size_is_soon_given_up(endless: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequest, match="none that can be read"):
        check_pictures([picture_of(endless)])
    assert time.monotonic() - began < 5


def test_a_detail_is_told_of_once() -> None:
    asked = [SimpleNamespace(detail=detail, named="a.url") for detail in ("auto", "low", "high")]
    assert details(asked) == {"image_url.detail": "low"}  # type: ignore[arg-type]
    assert details(asked[:1]) == {}  # type: ignore[arg-type]
