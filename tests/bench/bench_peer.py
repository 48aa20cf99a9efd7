"""Files per second, beside LangChain with Chroma

The same files, the same model file, the same number of threads, in the same
run and in turn. LangChain: DirectoryLoader with TextLoader, a recursive
splitter, Chroma on the disk, the int8 model through ONNX Runtime; with the
splitter's own sizes, and tuned to the model as well as we could. It gives
vectors only; Almanac's files also have their words indexed, a record, and the
proof that both indexes find them. Models are loaded before the clock runs;
Almanac's runs from the first file received, LangChain's from the loader.

LangChain is no part of Almanac: `var/bench/peer` gets an environment of its
own at the first run, which needs a network, and is used offline afterwards.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import material
from tests.bench.measuring import NO_CHAT, WrongResult, status, unfurnished, until_all, until_received
from tests.places import ROOT, embedding_model
from tests.running import running

ENVIRONMENT = ROOT / "var" / "bench" / "peer"
PACKAGES = (
    *("langchain-community", "langchain-text-splitters", "langchain-chroma", "chromadb"),
    *("onnxruntime", "tokenizers"),
)
WAYS = ("defaults", "tuned")
_QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "LANGCHAIN_TRACING_V2": "false",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def run(files: int = 1500, pages: int = 150, rounds: int = 3) -> Iterator[str]:
    """`files` tiny ones, and `pages` of some thousand characters."""
    python = environment()
    if python is None:
        yield f"Not measured: {', '.join(PACKAGES)} could not be installed into {ENVIRONMENT}; that needs a network."
        return
    versions: dict[str, str] = {}
    yield "| | files | chunks | files/s | chunks/s | Almanac's files/s ÷ it |"
    yield "|---|---|---|---|---|---|"
    for name, texts, count in (
        ("tiny files", material.tiny_pages, files),
        ("long pages", material.long_pages, pages),
    ):
        ours: list[tuple[int, float]] = []
        theirs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                material.write(folder / "texts", texts(), count)
                ours.append(almanac(folder, count))
                for way in WAYS:
                    theirs[way].append(peer(python, folder, way, count))
        rates = [count / seconds for _, seconds in ours]
        chunks = ours[0][0]
        yield (
            f"| {name}: Almanac | {count} | {chunks} | {median(rates):.1f} "
            f"| {median(rates) * chunks / count:.1f} | |"
        )
        for way in WAYS:
            told = theirs[way]
            versions = told[0]["versions"]
            peer_rates = [count / one["seconds"] for one in told]
            ratio = median(a / b for a, b in zip(rates, peer_rates, strict=True))
            cut = (
                f" ({told[0]['cut']} of them cut off, {told[0]['unseen']:.0%} of the text)"
                if told[0]["cut"]
                else ""
            )
            yield (
                f"| {name}: LangChain, {way} | {count} | {told[0]['chunks']}{cut} | {median(peer_rates):.1f} "
                f"| {median(peer_rates) * told[0]['chunks'] / count:.1f} | {ratio:.2f} |"
            )
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield (
        f"\nMedians of {rounds} rounds, {os.cpu_count()} threads each. What a chunk has beyond 256 word pieces is "
        f"cut off by the model, and not searched. {named}."
    )


def almanac(folder: Path, count: int) -> tuple[int, float]:
    """Chunks, and seconds from the first file received to the last findable by words and meaning."""
    settings = f"[ingest]\nsettle_s = 0.2\nthreads = {os.cpu_count()}\n{NO_CHAT}"
    with running(unfurnished(folder / "house"), settings=settings) as appliance:
        appliance.drop("warm.md", "# Warm\n\nThe first file loads the models.\n")
        until_all(appliance, 1)
        before = status(appliance)["vectors"]
        for path in (folder / "texts").iterdir():
            appliance.drop(f"batch/{path.name}", path.read_bytes())
        began = until_received(appliance, 2)
        seconds = until_all(appliance, 1 + count) - began
        return status(appliance)["vectors"] - before, seconds


def peer(python: Path, folder: Path, way: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as store:
        done = subprocess.run(
            [
                *(str(python), str(Path(__file__).with_name("peer_langchain.py"))),
                *("--texts", str(folder / "texts"), "--model", str(embedding_model()), "--store", store),
                *("--threads", str(os.cpu_count()), "--way", way),
            ],
            capture_output=True,
            text=True,
            env=os.environ | _QUIET,
            check=False,
        )
    if done.returncode:
        raise WrongResult(f"the peer ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if told["files"] != count or told["stored"] != told["chunks"] or not told["found"]:
        raise WrongResult(f"the peer has not indexed everything: {told}")
    return told


def environment() -> Path | None:
    """The peer's own Python, set up when it is not there; None when it cannot be."""
    python = ENVIRONMENT / "bin" / "python"
    asked = [
        str(python),
        "-c",
        "import chromadb, langchain_chroma, langchain_community, onnxruntime, tokenizers",
    ]
    if python.exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
        return python
    print(f"(setting up {ENVIRONMENT}, once)", file=sys.stderr)
    made = subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=False)
    install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
    if made.returncode or subprocess.run(install, check=False).returncode:
        return None
    return python
