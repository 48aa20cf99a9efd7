"""The record's text as paragraphs: nothing is lost, and marks lie where they were put."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.wire import Mark
from web.plain import leaf_at, leaves, paragraphs

TEXTS = st.text(alphabet="ab \n", max_size=400)


@given(TEXTS, st.integers(1, 50))
def test_leaves_are_the_whole_text_in_order(text: str, most: int) -> None:
    cuts = leaves(text, most=most)
    assert "".join(text[start:end] for start, end in cuts) == text
    assert all(end - start <= most for start, end in cuts)
    assert all(cuts[leaf_at(cuts, at)][0] <= at < cuts[leaf_at(cuts, at)][1] for at in range(len(text)))


@given(TEXTS, st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_marked_spans_are_the_marked_text(text: str, one: int, two: int, three: int, four: int) -> None:
    passage, hit = sorted((one, two)), sorted((three, four))
    marks = [Mark(0, *passage, "passage", "passage"), Mark(0, *hit, "hit", "h1")]
    spans = [span for paragraph in paragraphs(text, marks) for span in paragraph]
    assert "\n\n".join("".join(s["text"] for s in p) for p in paragraphs(text, marks)).replace(
        "\n", ""
    ) == text.replace("\n", "")
    for kind, (start, end) in (("passage", passage), ("hit", hit)):
        shown = "".join(span["text"] for span in spans if kind in span["kind"].split())
        assert shown.replace("\n", "") == text[start:end].replace("\n", "")
    ids = [span["id"] for span in spans if span["id"]]
    assert len(ids) == len(set(ids))
