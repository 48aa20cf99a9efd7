"""Quotation: an answer without a model, in the library's own words.

Pure. The best passages, shortened at sentence ends around what was asked.
"""

from collections.abc import Iterator, Sequence

from llm.answering.citations import sentences_of
from llm.events import Citation, Token
from search.analysis import subject_terms
from search.values import Passage

_QUOTED_PASSAGES = 3
_QUOTED_CHARACTERS = 420


def quotations(
    question: str, passages: Sequence[Passage], *, most: int = _QUOTED_PASSAGES
) -> Iterator[Token | Citation]:
    """Quote `most` passages as Markdown quotations, each with its citation, the nearest in meaning first.

    Not in the order of retrieval: a passage full of the question's words need
    not answer it, and here no model reads on to the next.
    """
    by_meaning = sorted(enumerate(passages, start=1), key=lambda pair: -(pair[1].similarity or 0.0))
    for at, (n, passage) in enumerate(by_meaning[:most]):
        quoted = " ".join(best_sentences(passage.excerpt.text, question).split())
        yield Token(f"{chr(10) * 2 if at else ''}> {quoted}")
        yield Citation(n)


def best_sentences(text: str, question: str, *, longest: int = _QUOTED_CHARACTERS) -> str:
    """The run of whole sentences, at most `longest` characters, with the most of the question's words."""
    sentences = sentences_of(text)
    wanted = subject_terms(question)
    best, most = "", -1
    for first in range(len(sentences)):
        run = ""
        for sentence in sentences[first:]:
            if run and len(run) + len(sentence) > longest:
                break
            run += sentence
        matched = len(wanted & subject_terms(run))
        if matched > most:
            best, most = run, matched
    return best[:longest].strip()
