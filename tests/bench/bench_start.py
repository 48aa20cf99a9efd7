"""Start and memory with 100,000 chunks indexed

A record and both indexes of 100,000 chunks (the starter chapters' texts over
and over, vectors drawn at random), opened by `almanac serve`. Resident memory
is that of the main process alone, read from /proc: before the query embedder
is loaded (a house without the model), and with it, after 50 searches.
"""

import http.client
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from appliance.config import Config, PathsConfig
from appliance.stacks import open_stacks
from library.texts import Text
from library.values import Chunk, DocumentState, Extracted, FileSeen, Section
from library.watermark import Watermark
from search.embedder import DIMENSIONS
from tests.places import MODELS, ROOT
from tests.running import Appliance

CHUNKS, CHUNKS_A_DOCUMENT = 100_000, 100
STARTS = 5


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fill(folder)
        opened = [start_ms(folder) for _ in range(STARTS)]
        without = Appliance(folder, models=None, settings="[llm]\nenabled = false\n").start(ready=False)
        without.until(lambda: without.get("/api/search", q="water")[0] == 200)
        before = resident_mib(without)
        searched_without = after_searches(without)
        without.stop()
        house = Appliance(folder).start(timeout_s=120)
        loaded = resident_mib(house)
        searched = after_searches(house)
        took = median(house.get("/api/search", q=f"boil water {n}")[1]["took_ms"] for n in range(50))
        house.stop()
    yield "| | |"
    yield "|---|---|"
    yield f"| process start to `/healthz` 200, median of {STARTS} | {median(opened):.0f} ms (max {max(opened):.0f}) |"
    yield f"| of it: bare interpreter that imports litestar, uvicorn and sqlalchemy | {imports_ms():.0f} ms |"
    yield f"| main process, resident, before the query embedder is loaded | {before} MiB |"
    yield f"| the same after 50 searches by words | {searched_without} MiB |"
    yield f"| main process, resident, with the query embedder | {loaded} MiB |"
    yield f"| the same after 50 hybrid searches | {searched} MiB |"
    yield f"| hybrid search inside the house, median | {took:.1f} ms |"


def fill(folder: Path) -> None:
    """A data folder with CHUNKS chunks; the files they came from stay where they are."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".furnished").touch()
    blocks = [
        block
        for chapter in sorted((ROOT / "library" / "starter").rglob("*.md"))
        for block in chapter.read_text().split("\n\n")
        if len(block) > 150
    ]
    texts = cycle(blocks)
    rng = random.Random(1)
    config = Config(paths=PathsConfig(data=str(folder / "data"), models=str(MODELS)))
    with open_stacks(config) as stacks:
        mark = Watermark(stacks.record)
        for n in range(CHUNKS // CHUNKS_A_DOCUMENT):
            path = f"shelf{n % 5}/book{n}.md"
            target = folder / "library" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(str(n))
            seen = target.stat()
            stacks.arrivals.receive(
                FileSeen(path, seen.st_size, seen.st_mtime_ns, str(n), "markdown"), is_gone=lambda _: False
            )
            [(document, digest, _)] = stacks.queue.begin_reading()
            parts = [f"{n} {m} {text}" for m, text in enumerate(islice(texts, CHUNKS_A_DOCUMENT))]
            sections = tuple(
                Section(m, 1, (f"Book {n}", f"Part {m}"), "", part) for m, part in enumerate(parts)
            )
            chunks = [Chunk(m, m, 0, len(part), part) for m, part in enumerate(parts)]
            extracted = Extracted(f"Book {n}", (), "en", None, sections)
            stored = stacks.queue.store_texts([Text(document.id, digest, extracted, chunks)])[document.id]
            stacks.lexical.add(stored)
            stacks.vectors.upsert(stored, [[rng.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in stored])
            mark.raise_to({document.id: len(stored)})
            stacks.queue.advance({document.id: digest}, DocumentState.FINDABLE)
            if n % 50 == 49:
                stacks.lexical.commit()
        stacks.lexical.commit()


def start_ms(folder: Path) -> float:
    """Milliseconds from starting the process to the first 200 of /healthz."""
    config = folder / "start.toml"
    port = 18_273
    config.write_text(f'[paths]\ndata = "{folder}/data"\nlibrary = "{folder}/library"\nmodels = "{MODELS}"\n')
    command = [sys.executable, "-m", "appliance", "--config", str(config), "serve", "--port", str(port)]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
        took = (time.perf_counter() - began) * 1000
        process.terminate()
        process.wait(15)
    return took


def imports_ms() -> float:
    times = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import litestar, uvicorn, sqlalchemy.orm"], check=True)
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def resident_mib(appliance: Appliance) -> int:
    assert appliance.process
    status = Path(f"/proc/{appliance.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def after_searches(appliance: Appliance) -> int:
    for n in range(50):
        appliance.get("/api/search", q=f"how to store water {n}")
    return resident_mib(appliance)
