"""Files per second, beside LangChain with Chroma

The same files, the same weights, in the same run and in turn. LangChain:
DirectoryLoader with TextLoader, a recursive splitter, Chroma on the disk. It
gives vectors only; Almanac's files also have their words indexed, a record,
and the proof that both indexes find them. Models are loaded before the clock
runs; Almanac's runs from the first file received, LangChain's from the loader.

Three embedders, all of this one model and held against each other's vectors:
the appliance's own int8 file with as many threads, once with the splitter's
own sizes and once tuned to the model as well as we could; Chroma's default
embedder; and sentence-transformers. The last two are what one gets who asks
for the model by its name: float32, as they come, on files laid out for them by
`published`. Pieces of the splitter's own size, 4,000 characters, are four
times what the model reads, so the peer leaves most of long pages unsearched;
only "tuned" and "pieces that fit" do work like ours.

LangChain is no part of Almanac: `var/bench/peer` gets an environment of its
own at the first run, which needs a network, and is used offline afterwards.
sentence-transformers needs PyTorch, whose usual build brings gigabytes for
graphics cards: it is measured where pip finds the build for the processor
alone (its wheel in a folder named in PIP_FIND_LINKS will do), and left out
with a sentence elsewhere.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from appliance.setup.progress import SetupStopped
from search.embedder import Embedder
from tests.bench import material, published
from tests.bench.measuring import NO_CHAT, WrongResult, status, unfurnished, until_all, until_received
from tests.places import ROOT, embedding_model
from tests.running import running

ENVIRONMENT = ROOT / "var" / "bench" / "peer"
PACKAGES = (
    *("langchain-community", "langchain-text-splitters", "langchain-chroma", "chromadb"),
    *("onnxruntime", "tokenizers"),
)
TORCH_PACKAGES = ("torch==2.13.0+cpu", "sentence-transformers", "langchain-huggingface")
WAYS = {
    "defaults": "our model file",
    "tuned": "our model file, tuned",
    "chroma": "Chroma's own embedder",
    "chroma-fitting": "Chroma's own embedder, pieces that fit",
}
TORCH_WAYS = {
    "sentence-transformers": "sentence-transformers",
    "sentence-transformers-fitting": "sentence-transformers, pieces that fit",
}
# Two ways to one model differ by their rounding: int8 stands at 0.99 to float32.
SAME_MODEL = 0.98
CHECKED = (
    "How do I keep bees through the winter?",
    "A hive needs dry walls and twenty kilograms of honey before the frost. " * 3,
    "Boil the water for one minute to make it safe to drink.",
    "tar -xf archive.tar.gz --directory=/opt",
)
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
    try:
        published.lay_out()
    except SetupStopped as reason:
        yield f"Not measured: the published weights are not to be had. {reason}"
        return
    ways = dict(WAYS)
    if torch_is_there(python):
        ways |= TORCH_WAYS
    else:
        yield (
            "sentence-transformers is not measured: pip finds no build of PyTorch for the processor alone. "
            "Put its wheel into a folder, name that in PIP_FIND_LINKS, and run this again.\n"
        )
    versions: dict[str, str] = {}
    yield f"Load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n"
    yield "| | files | chunks | files/s | chunks/s | Almanac's files/s ÷ it |"
    yield "|---|---|---|---|---|---|"
    for name, texts, count in (
        ("tiny files", material.tiny_pages, files),
        ("long pages", material.long_pages, pages),
    ):
        ours: list[tuple[int, float]] = []
        theirs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                material.write(folder / "texts", texts(), count)
                ours.append(almanac(folder, count))
                for way in ways:
                    theirs[way].append(peer(python, folder, way, count))
        rates = [count / seconds for _, seconds in ours]
        chunks = ours[0][0]
        yield (
            f"| {name}: Almanac | {count} | {chunks} | {median(rates):.1f} "
            f"| {median(rates) * chunks / count:.1f} | |"
        )
        for way in ways:
            told = theirs[way]
            versions |= told[0]["versions"]
            peer_rates = [count / one["seconds"] for one in told]
            ratio = median(a / b for a, b in zip(rates, peer_rates, strict=True))
            cut = (
                f" ({told[0]['cut']} of them cut off, {told[0]['unseen']:.0%} of the text)"
                if told[0]["cut"]
                else ""
            )
            yield (
                f"| {name}: LangChain, {ways[way]} | {count} | {told[0]['chunks']}{cut} | {median(peer_rates):.1f} "
                f"| {median(peer_rates) * told[0]['chunks'] / count:.1f} | {ratio:.2f} |"
            )
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield (
        f"\nMedians of {rounds} rounds, {os.cpu_count()} threads each. Load at the end: {os.getloadavg()[0]:.1f}. What a chunk has beyond 256 word pieces is "
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
                *("--published", str(published.SENTENCE_TRANSFORMERS)),
                *("--threads", str(os.cpu_count()), "--way", way),
                *("--check", *CHECKED),
            ],
            capture_output=True,
            text=True,
            env=os.environ | _QUIET | {"HOME": str(published.HOME)},
            check=False,
        )
    if done.returncode:
        raise WrongResult(f"the peer ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if told["files"] != count or told["stored"] != told["chunks"] or not told["found"]:
        raise WrongResult(f"the peer has not indexed everything: {told | {'vectors': '…'}}")
    if (cosine := least_cosine(told["vectors"])) < SAME_MODEL:
        raise WrongResult(f"{way} is another model: its vectors are at cosine {cosine:.3f} to ours")
    return told


def least_cosine(theirs: list[list[float]]) -> float:
    vectors = np.array(theirs)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return float((vectors * _ours()).sum(axis=1).min())


@cache
def _ours() -> Any:
    return Embedder(embedding_model(), threads=1).embed(CHECKED)


def environment() -> Path | None:
    """The peer's own Python, set up when it is not there; None when it cannot be."""
    python = ENVIRONMENT / "bin" / "python"
    if python.exists() and _imports(
        python, "chromadb, langchain_chroma, langchain_community, onnxruntime, tokenizers"
    ):
        return python
    print(f"(setting up {ENVIRONMENT}, once)", file=sys.stderr)
    made = subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=False)
    install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
    if made.returncode or subprocess.run(install, check=False).returncode:
        return None
    return python


def torch_is_there(python: Path) -> bool:
    modules = "langchain_huggingface, sentence_transformers, torch"
    if _imports(python, modules):
        return True
    install = [str(python), "-m", "pip", "install", "--quiet", *TORCH_PACKAGES]
    return subprocess.run(install, capture_output=True, check=False).returncode == 0 and _imports(
        python, modules
    )


def _imports(python: Path, modules: str) -> bool:
    asked = [str(python), "-c", f"import {modules}"]
    return subprocess.run(asked, capture_output=True, check=False, env=os.environ | _QUIET).returncode == 0
