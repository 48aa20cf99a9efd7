"""The embedder: what a text is to it, and what it leaves behind on the machine, which is nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from library.errors import InvalidRequest
from search.embedder import Embedder
from tests.places import ROOT, embedding_model

EMBED_A_TEXT = """
import sys
from pathlib import Path
from search.embedder import Embedder
print(Embedder(Path(sys.argv[1]), threads=1).embed(["The hive stands under the lime tree."]).shape)
"""


@pytest.mark.models
def test_embedding_writes_nothing_into_the_home_of_the_user(tmp_path: Path) -> None:
    model = embedding_model()
    # Without what the tests have set for themselves, and without another home to hide in.
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", EMBED_A_TEXT, str(model)],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 384)\n"
    assert sorted(tmp_path.rglob("*")) == []


@pytest.mark.models
def test_a_text_is_its_tokens_framed_and_uncut() -> None:
    embedder = Embedder(embedding_model(), threads=1)
    text, tokens = embedder.tokens(["Water boils.", [2300, 26077, 2015, 1012]])
    assert (text[0], text[-1]) == (tokens[0], tokens[-1]) == (101, 102)
    assert text[1:-1] == [2300, 26077, 2015, 1012] == tokens[1:-1]
    assert len(embedder.tokens(["water " * 1000])[0]) == 1002
    # And whoever embeds texts still has them cut.
    assert np.array_equal(embedder.embed(["water " * 1000]), embedder.embed(["water " * 254]))
    assert np.array_equal(embedder.embed_tokens([text]), embedder.embed(["Water boils."]))


@pytest.mark.models
@pytest.mark.parametrize("wrong", [-1, 30522])
def test_a_token_that_the_model_does_not_have_is_refused_where_it_stands(wrong: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Embedder(embedding_model(), threads=1).tokens(["a", [5, wrong]])
    assert refused.value.parameter == "input[1]"
