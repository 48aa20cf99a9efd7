"""Journeys of the whole appliance: start, stop, crash, no network, no models, wrong configuration."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.places import MODELS, ROOT, chat_model, embedding_model, missing, program, shared_data
from tests.running import Appliance, running

# A library that reports to its maker gathers first: one that did asked for the address ten seconds after its import.
WATCHED_S = 35
BEES = "# Keeping bees\n\n## Inspection\n\nThe colony is called Marigold, and it is inspected every eleventh day.\n"


def almanac(*arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    named = ["--config", str(config)] if config else []
    return subprocess.run(
        [sys.executable, "-m", "appliance", *named, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def only_a_sentence(text: str) -> bool:
    return (
        "Traceback" not in text
        and len(text.strip().splitlines()) == 1
        and text.strip().startswith("almanac: ")
    )


@pytest.mark.models
def test_a_dropped_book_is_found_and_asked_about_and_the_house_closes_cleanly(data_folder: Path) -> None:
    embedding_model()
    chat_model()
    with running(data_folder) as house:
        house.drop("garden/bees.md", BEES)
        house.until(lambda: house.get("/api/search", q="Marigold")[1]["items"], 30)
        house.until_state("garden/bees.md", "findable")
        asked = {
            "model": "almanac",
            "messages": [{"role": "user", "content": "How often is the colony inspected?"}],
        }
        status, answer = house.post("/v1/chat/completions", asked)
        assert status == 200
        assert answer["almanac"]["sources"][0]["document"]["path"] == "garden/bees.md"
        assert house.stop() == 0


@pytest.mark.models
def test_the_starter_library_furnishes_an_empty_house_once(tmp_path: Path) -> None:
    embedding_model()
    settings = "[llm]\nenabled = false\n[ingest]\nsettle_s = 0.2\n"
    with running(tmp_path, settings=settings) as house:
        house.until_state("water/household-almanac.epub", "findable_words", "findable", timeout_s=120)
        _, page = house.get("/api/documents", limit=500)
        assert sum(item["format"] == "markdown" for item in page["items"]) >= 15
        assert house.stop() == 0
    shutil.rmtree(house.library)
    with running(tmp_path, settings=settings) as house:
        house.until(lambda: house.get("/status")[1]["documents"]["missing"])
        assert list(house.library.rglob("*.md")) == []


@pytest.mark.models
def test_a_kill_loses_nothing_and_the_restart_repairs_itself(data_folder: Path) -> None:
    embedding_model()
    house = Appliance(data_folder, settings="[llm]\nenabled = false\n[ingest]\nsettle_s = 0.2\n").start()
    for n in range(30):
        house.drop(f"s/{n}.md", f"# Note {n}\n\n" + f"The zebra number {n} is striped. " * 60)
    house.until(lambda: house.get("/status")[1]["documents"]["findable_words"])
    house.kill()
    house.start()
    house.until(lambda: house.get("/status")[1]["documents"]["findable"] == 30, 120)
    status = house.get("/status")[1]
    assert status["chunks"] == status["vectors"]
    assert status["indexes"]["lexical"]["chunks"] == status["chunks"]
    assert status["indexes"]["vector"]["vectors"] == status["chunks"]
    assert status["indexes"]["vector"]["place"] == "in this process"
    assert house.stop() == 0


@pytest.mark.models
def test_nothing_works_worse_with_the_network_cut(data_folder: Path) -> None:
    """In a network namespace that has a loopback and nothing else."""
    embedding_model()
    chat_model()
    unshare, ip = program("unshare"), program("ip")
    probe = subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True)
    if probe.returncode:
        missing("this machine lets nobody make a network namespace")
    script = data_folder / "inside.py"
    script.write_text(
        "import json, socket, sys\n"
        "from pathlib import Path\n"
        "from tests.running import running\n"
        "try: socket.create_connection(('1.1.1.1', 53), 2); sys.exit('there is a network')\n"
        "except OSError: pass\n"
        "with running(Path(sys.argv[1])) as house:\n"
        "    house.drop('garden/bees.md', Path(sys.argv[2]).read_text())\n"
        "    house.until_state('garden/bees.md', 'findable')\n"
        "    found = house.get('/api/search', q='Marigold inspection')[1]\n"
        "    done = house.ask('How often is the colony Marigold inspected?')[-1]\n"
        "    page = house.request('GET', '/')[0]\n"
        "    print(json.dumps([found['items'][0]['found_by'], done[1]['kind'], page]))\n"
    )
    book = data_folder / "bees.txt"
    book.write_text(BEES)
    inside = f"{ip} link set lo up && exec {sys.executable} {script} {data_folder} {book}"
    done = subprocess.run(
        [unshare, "-rn", "sh", "-c", inside],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["words", "meaning"], "written", 200]


@pytest.mark.models
def test_no_connection_to_anywhere_else_is_even_tried(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every socket call of the house and its children is watched, and the home that they believe in."""
    embedding_model()
    chat_model()
    strace = program("strace")
    trace, home = data_folder / "trace", data_folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    wrap = (strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace))
    with running(data_folder, wrap=wrap, settings="[ingest]\nsettle_s = 0.2\n") as house:
        house.drop("garden/bees.md", BEES)
        house.until_state("garden/bees.md", "findable", timeout_s=120)
        assert house.ask("How often is the colony Marigold inspected?")[-1][0] == "done"
        assert house.request("GET", "/metrics")[0] == 200
        threading.Event().wait(WATCHED_S)
        assert house.get("/readyz")[0] == 200
        assert house.process
        subprocess.run(["pkill", "-TERM", "-P", str(house.process.pid)], check=True)
        assert house.process.wait(20) == 0
        house.stop()
    calls = trace.read_text().splitlines()
    assert any("engine.sock" in line for line in calls)  # what is watched is the house
    tried = [line for line in calls if "AF_INET" in line]
    assert [line for line in tried if "127.0.0.1" not in line] == []
    # A resolver of the machine's is reached by a socket that is a file.
    assert [line for line in calls if re.search(r"sun_path=.*resolve", line)] == []
    assert sorted(home.rglob("*")) == []


def test_without_any_model_the_house_serves_by_words_and_says_so(data_folder: Path) -> None:
    with running(data_folder, models=None, ready=False) as house:
        house.drop("garden/bees.md", BEES)
        assert house.get("/healthz")[0] == 200
        status, ready = house.get("/readyz")
        assert status == 503
        assert "make run" in " ".join(house.until(lambda: house.get("/readyz")[1]["missing"]))
        assert ready["ready"] is False


@pytest.mark.models
def test_without_a_chat_model_the_answer_is_quoted(data_folder: Path) -> None:
    embedding_model()
    with running(data_folder, settings="[llm]\nenabled = false\n") as house:
        house.drop("garden/bees.md", BEES)
        house.until_state("garden/bees.md", "findable")
        assert house.get("/readyz")[0] == 200
        events = house.ask("How often is the colony called Marigold inspected?")
        text = "".join(body["text"] for name, body in events if name == "token")
        assert text.startswith("> ")
        assert "inspected every eleventh day" in text
        assert ("citation", {"n": 1}) in events
        assert events[-1][1]["kind"] == "quoted"
        status, answer = house.post(
            "/v1/chat/completions",
            {
                "model": "almanac",
                "messages": [{"role": "user", "content": "How often is Marigold inspected?"}],
            },
        )
        assert status == 200
        assert answer["choices"][0]["message"]["annotations"][0]["path"] == "garden/bees.md"


@pytest.mark.models
def test_a_stop_tells_the_answer_that_is_being_written(data_folder: Path) -> None:
    embedding_model()
    chat_model()
    with running(data_folder, settings="[llm]\nmax_answer_tokens = 1500\n") as house:
        house.drop("garden/bees.md", BEES)
        house.until_state("garden/bees.md", "findable")
        model = house.get("/status")[1]["model"]["id"]
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Count."}],
            "stream": True,
            "max_tokens": 3000,
            "ignore_eos": True,
        }
        told: list[bytes] = []
        asking = threading.Thread(
            target=lambda: told.append(house.request("POST", "/v1/chat/completions", body)[2])
        )
        asking.start()
        house.until(lambda: house.get("/status")[0] == 200)
        threading.Event().wait(1)  # well inside the answer: it takes many seconds
        assert house.stop() == 0
        asking.join(10)
    assert told
    last = told[0].decode().strip().split("\n\n")[-1]
    assert "error" in json.loads(last.removeprefix("data: ")), last


def test_a_port_in_use_is_one_sentence_and_code_1(data_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = Appliance(data_folder, models=None).config
        done = almanac("serve", "--port", str(taken.getsockname()[1]), config=config)
    assert done.returncode == 1
    assert only_a_sentence(done.stderr)
    assert "cannot be used" in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("[server]\nprot = 8080\n", "server.prot"),
        ("[server]\nport = 'eighty'\n", "server.port"),
        ("[ingest]\nsettle_s = -1\n", "ingest.settle_s"),
        ("[lmm]\nmodel = 'x'\n", "lmm"),
        ("[llm]\nmodel = '/nowhere/model.gguf'\n", "llm.model"),
        ("this is no TOML", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_named_and_stops_the_start(
    data_folder: Path, settings: str, says: str
) -> None:
    config = data_folder / "wrong.toml"
    config.write_text(settings)
    done = almanac("serve", "--port", "0", config=config)
    assert done.returncode == 1
    assert only_a_sentence(done.stderr)
    assert says in done.stderr


def test_a_model_that_is_no_gguf_is_one_sentence_and_code_1(data_folder: Path) -> None:
    (data_folder / "film.gguf").write_bytes(b"not a model at all" * 100)
    config = data_folder / "wrong.toml"
    config.write_text(f'[paths]\ndata = "{data_folder}/data"\n[llm]\nmodel = "{data_folder}/film.gguf"\n')
    done = almanac("serve", "--port", "0", config=config)
    assert done.returncode == 1
    assert only_a_sentence(done.stderr)
    assert "film.gguf" in done.stderr


def test_a_data_folder_that_cannot_be_written_is_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "wrong.toml"
    config.write_text(f'[paths]\ndata = "{tmp_path}/file/data"\n')
    done = almanac("serve", "--port", "0", config=config)
    assert done.returncode == 1
    assert only_a_sentence(done.stderr)


def test_a_second_house_on_the_same_data_is_one_sentence_and_code_1(data_folder: Path) -> None:
    with running(data_folder, models=None, ready=False) as house:
        done = almanac("serve", "--port", "0", config=house.config)
    assert done.returncode == 1
    assert "already running" in done.stderr


def test_a_wrong_command_line_is_code_2() -> None:
    assert almanac("serve", "--prot", "1").returncode == 2
    assert almanac("dance").returncode == 2
    assert almanac().returncode == 2


def test_a_command_without_a_house_says_how_to_start_one() -> None:
    done = almanac("search", "water", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert only_a_sentence(done.stderr)
    assert "make run" in done.stderr


@pytest.mark.models
def test_the_commands_ask_the_running_house(house: Appliance) -> None:
    found = almanac("search", "Marigold inspection", "--json", "--url", house.url)
    assert json.loads(found.stdout)["items"][0]["document"]["path"] == "garden/bees.md"
    assert "Keeping bees" in almanac("search", "Marigold inspection", "--url", house.url).stdout
    answer = almanac("ask", "How often is the colony Marigold inspected?", "--json", "--url", house.url)
    assert json.loads(answer.stdout)["kind"] == "written"
    assert json.loads(almanac("status", "--json", "--url", house.url).stdout)["ready"]
    assert almanac("status", "--url", house.url).returncode == 0
    ingest = almanac("ingest", "--url", house.url)
    assert ingest.returncode == 0
    assert "findable" in ingest.stdout
    wrong = almanac("search", "x", "--limit", "0", "--url", house.url)
    assert wrong.returncode == 1
    assert "limit" in wrong.stderr


def test_check_names_what_would_keep_the_house_from_starting(data_folder: Path) -> None:
    config = Appliance(data_folder, models=None).config
    done = almanac("check", "--json", config=config)
    findings = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert findings["embedder"]["outcome"] == "tight"
    assert findings["model"]["outcome"] == "tight"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.write_text(
            f'[server]\nport = {taken.getsockname()[1]}\n[paths]\ndata = "{data_folder}/data"\n'
        )
        done = almanac("check", config=config)
    assert done.returncode == 1
    assert "no    port" in done.stdout


@pytest.mark.models
def test_eval_runs_a_small_collection_and_hybrid_finds_what_is_judged(tmp_path: Path) -> None:
    embedding_model()
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "\n".join(
            json.dumps({"_id": id_, "title": title, "text": text})
            for id_, title, text in (
                ("d1", "Bees", "The colony is inspected every eleventh day."),
                ("d2", "Goats", "Goats are milked at dawn."),
                ("d3", "Owls", "The barn owl hunts voles at night."),
            )
        )
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "How often are bees inspected?"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    config = tmp_path / "almanac.toml"
    config.write_text(f'[paths]\nmodels = "{MODELS}"\n')
    done = almanac("eval", str(tmp_path), "--json", config=config)
    figures = json.loads(done.stdout)
    assert figures["queries"] == 1
    assert figures["documents"] == 3
    for mode in ("lexical", "vector", "hybrid"):
        assert figures[mode] == {"ndcg@10": 1.0, "recall@10": 1.0, "recall@20": 1.0, "recall@100": 1.0}
    missing = almanac("eval", str(tmp_path / "nowhere"), config=config)
    assert missing.returncode == 2
    assert only_a_sentence(missing.stderr)


@pytest.mark.models
def test_a_real_manual_as_a_book_and_as_chapters_is_indexed_and_answered_from(data_folder: Path) -> None:
    embedding_model()
    manual = shared_data("survival-manual")
    with running(data_folder, settings="[llm]\nenabled = false\n[ingest]\nsettle_s = 0.2\n") as house:
        shutil.copytree(manual / "md", house.library / "manual")
        shutil.copy(manual / "LigiSurvivalManual.epub", house.library / "manual")
        expected = len(list((house.library / "manual").iterdir()))

        def settled() -> bool:
            states = house.get("/status")[1]["documents"]
            return states["findable"] + states["failed"] == expected

        house.until(settled, 240)
        assert house.get("/status")[1]["documents"]["failed"] == 0
        events = house.ask("What is the safest way to make water drinkable?")
        sources = events[0][1]["passages"]
        assert any("boil" in source["passage"]["text"].lower() for source in sources)
