"""Engines: which worker runs a model file.

Knows the workers' commands and what each asks of a file before it may be
started; loads none. A file says itself when it was written for another engine
than the default (`almanac models convert`), for the default cannot read it then.
"""

import sys
from pathlib import Path

from library.errors import ModelUnavailable
from llm.engines.ctransformers.preflight import available, inspect_for_ctransformers
from llm.model_files.card import ModelCard

XLLAMACPP = (sys.executable, "-m", "llm.engines.worker")
CTRANSFORMERS = (sys.executable, "-m", "llm.engines.ctransformers.worker")


def worker_of(card: ModelCard, model_file: Path) -> tuple[str, ...]:
    """The command that hosts this file. Starting it later cannot help where this raises.

    Raises ModelUnavailable where its engine is not installed, ModelFileInvalid
    where it cannot run the file.
    """
    if card.engine is None:
        return XLLAMACPP
    if why := available():
        raise ModelUnavailable(why)
    inspect_for_ctransformers(model_file)
    return CTRANSFORMERS
