"""Which model file is chosen, what `almanac check` says of it, and what `almanac models` shows."""

import json
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from appliance.__main__ import main
from appliance.chat_model import (
    RememberedModels,
    absence,
    chosen_model,
    open_models,
    open_registry,
    passed_over,
)
from appliance.config import Config, LlmConfig, PathsConfig, ServerConfig
from appliance.preflight import Outcome, preflight
from library.errors import ConfigurationError, ModelFileInvalid
from library.facts import Facts
from library.record import Record
from tests.llm.gguf_files import KEYS, WHOLE, gguf, said

BARE = gguf(KEYS[:1])  # a chat model without a template
EMBEDDING = gguf([said("general.architecture", "bert")])


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "data" / "models" / "chat").mkdir(parents=True)
    return Config(paths=PathsConfig(data=str(tmp_path / "data")), server=ServerConfig(port=0))


def put(config: Config, name: str, content: bytes = WHOLE) -> Path:
    path = config.models / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def chosen(config: Config, **llm: object) -> Path | str | None:
    config = msgspec.structs.replace(config, llm=LlmConfig(**llm))
    return chosen_model(config, open_registry(config))


def test_the_first_usable_one_is_chosen(config):
    assert chosen(config) is None
    put(config, "chat/a.gguf", WHOLE[:-1])
    put(config, "chat/b.gguf", b"")
    put(config, "chat/c.gguf", EMBEDDING)
    put(config, "chat/d.gguf", gguf([said("general.architecture", "flux")]))
    assert chosen(config) is None
    bare = put(config, "chat/e.gguf", BARE)
    assert chosen(config) == bare
    good = put(config, "chat/f.gguf")
    put(config, "chat/g.gguf")
    assert chosen(config) == good
    assert chosen(config, enabled=False) is None


def test_one_that_is_too_large_for_the_memory_is_not_chosen_by_itself(config, monkeypatch):
    put(config, "chat/a.gguf")
    monkeypatch.setattr("llm.model_files.registry.free_memory", lambda: 2**20)
    assert chosen(config) is None
    assert "which is too little" in passed_over(open_registry(config))[0]
    assert chosen(config, model="a.gguf") is not None  # but when it is asked for


@pytest.mark.parametrize("name", ["b.gguf", "b", "chat/b.gguf", "deep/c.gguf", "c"])
def test_a_configured_model_goes_by_its_name_or_path(config, name):
    put(config, "chat/a.gguf")
    put(config, "chat/b.gguf")
    put(config, "deep/c.gguf")
    found = chosen(config, model=name)
    assert found is not None
    assert found.stem == name.removesuffix(".gguf")[-1]


def test_a_configured_model_that_is_missing_or_none_is_said(config, tmp_path):
    put(config, "chat/a.gguf")
    put(config, "chat/b.gguf", EMBEDDING)
    with pytest.raises(ConfigurationError, match="does not exist"):
        chosen(config, model="z.gguf")
    with pytest.raises(ModelFileInvalid, match="an embedding model"):
        chosen(config, model="b.gguf")


def test_why_there_is_none_is_said(config):
    def why() -> str:
        return absence(config, open_registry(config))

    assert why() == "No chat model is installed."
    put(config, "chat/a.gguf", WHOLE[:-1])
    assert why().startswith("No chat model can be used. a.gguf is cut short")
    put(config, "chat/b.gguf", b"")
    assert why().endswith("And 1 more: see `almanac models`.")
    off = msgspec.structs.replace(config, llm=LlmConfig(enabled=False))
    assert "switched off" in absence(off, open_registry(off))


def test_check_tells_of_the_chosen_model_and_of_the_others_troubles(config):
    put(config, "chat/a.gguf", WHOLE[:-1])
    put(config, "chat/b.gguf", BARE)
    findings = [finding for finding in preflight(config) if finding.part.startswith("model")]
    assert [(finding.part, finding.outcome) for finding in findings] == [
        ("model", Outcome.TIGHT),
        ("models", Outcome.TIGHT),
    ]
    assert findings[0].says.startswith("b.gguf (llama, Q4_1). It needs about ")
    assert "no chat template" in findings[0].says
    assert "a.gguf is cut short" in findings[1].says
    put(config, "chat/c.gguf")
    assert next(finding for finding in preflight(config) if finding.part == "model").outcome is Outcome.GO


@pytest.mark.parametrize(
    ("absence", "says"),
    [
        ("It is not installed.", "It is not installed."),
        (None, "ctransformers cannot run ct.gguf: it gives no "),
    ],
)
def test_check_tells_where_the_engine_of_the_chosen_model_cannot_have_it(config, monkeypatch, absence, says):
    monkeypatch.setattr("llm.engines.choice.available", lambda: absence)
    put(config, "chat/ct.gguf", gguf((*KEYS, said("almanac.engine", "ctransformers"))))
    finding = next(finding for finding in preflight(config) if finding.part == "model")
    assert (finding.outcome, finding.says.startswith(says)) == (Outcome.NO, True)


def almanac(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str]:
    file = tmp_path / "almanac.toml"
    # Nothing listens on port 1: the command looks for itself.
    file.write_text(f'[paths]\ndata = "{config.data}"\n[server]\nport = 1\n')
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(file), "models", *words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def test_the_command_lists_and_shows_without_a_running_appliance(config, tmp_path, capsys):
    put(config, "chat/a.gguf", WHOLE[:-1])
    put(config, "chat/b.gguf")
    put(config, "chat/copy.gguf")
    code, shown = almanac(config, tmp_path, capsys)
    assert code == 0
    assert "  chat/a.gguf  ?, unusable" in shown
    assert "a.gguf is cut short" in shown
    assert "* chat/b.gguf  chat, registered" in shown
    assert "It has the same content as chat/b.gguf." in shown
    code, shown = almanac(config, tmp_path, capsys, "--json")
    assert [model["chosen"] for model in json.loads(shown)["items"]] == [False, True, False]
    code, shown = almanac(config, tmp_path, capsys, "show", "b", "--json")
    assert (code, len(json.loads(shown)["digest"])) == (0, 64)
    code, shown = almanac(config, tmp_path, capsys, "show", "b")
    assert "memory          go: It needs about" in shown
    assert almanac(config, tmp_path, capsys, "show", "a")[0] == 1


def test_check_and_the_command_know_what_was_chosen_by_hand(config, tmp_path, capsys):
    put(config, "chat/a.gguf")
    put(config, "chat/b.gguf")
    record = Record.open(config.data / "record.sqlite3")
    RememberedModels(Facts(record)).keep("chat/b.gguf", ())
    assert "* chat/b.gguf" in almanac(config, tmp_path, capsys)[1]  # also while the record is open
    record.close()
    assert "* chat/b.gguf" in almanac(config, tmp_path, capsys)[1]
    assert any(finding.says.startswith("b.gguf (llama") for finding in preflight(config))


def test_the_command_says_what_it_does_not_know(config, tmp_path, capsys):
    assert "Put a .gguf file there" in almanac(config, tmp_path, capsys)[1]
    code, said_ = almanac(config, tmp_path, capsys, "show", "nonsuch")
    assert (code, "does not exist here" in said_) == (1, True)
    assert almanac(config, tmp_path, capsys, "show")[0] == 2
    code, said_ = almanac(config, tmp_path, capsys, "--url", "http://127.0.0.1:1")
    assert (code, "does not answer" in said_) == (1, True)


def test_nobody_is_told_to_put_a_file_where_the_model_is_switched_off(config):
    def told(llm: LlmConfig) -> str | None:
        given = msgspec.structs.replace(config, llm=llm)
        with closing(Record.open(config.data / "record.sqlite3")) as record:
            house = open_models(given, open_registry(given), Facts(record), lambda _: None)
            return house.default.host.reason

    assert told(LlmConfig(enabled=False)) == "The chat model is switched off (`llm.enabled`)."
    assert (told(LlmConfig()) or "").startswith("No chat model is installed. Put a .gguf file")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "--now"], "`--now` belongs to `almanac models unload`."),
        (["load", "x", "--force"], "`--force` belongs to `almanac models convert`."),
        (["unload", "x", "--insist"], "`--insist` belongs to `almanac models load`."),
        (
            ["show", "x", "--no-wait"],
            "`--no-wait` belongs to `almanac models load` and `almanac models unload` and",
        ),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(capsys, words, says):
    with pytest.raises(SystemExit) as end:
        main(["models", *words])
    assert end.value.code == 2
    assert says in capsys.readouterr().err
