"""Quotations and the verdict: what happens without a model, and before one is asked."""

from llm.answering.quotation import best_sentences, quotations
from llm.answering.verdict import Verdict, verdict
from llm.events import Citation, Token
from tests.llm.passages import passage


def test_quotations_are_the_passages_own_words_each_with_its_citation() -> None:
    events = list(
        quotations("How long to boil?", [passage("Boil it for a minute."), passage("Let it cool.")])
    )
    assert events == [
        Token("> Boil it for a minute."),
        Citation(1),
        Token("\n\n> Let it cool."),
        Citation(2),
    ]


def test_of_a_long_passage_the_sentences_that_matter_are_quoted_whole() -> None:
    text = (
        "Filler that says nothing. " * 30
        + "Light the smoker with sumac. Keep a bucket of sand. "
        + "More of it. " * 30
    )
    quoted = best_sentences(text, "How is the smoker lit with sumac?")
    assert "Light the smoker with sumac." in quoted
    assert len(quoted) <= 420
    assert text.find(quoted) >= 0


def test_without_passages_there_is_nothing_to_quote() -> None:
    assert list(quotations("anything", [])) == []


def test_a_related_passage_makes_a_question_answerable() -> None:
    assert verdict("How long to boil water?", [passage("Boil it.", similarity=0.5)]) is Verdict.ANSWERABLE


def test_a_passage_with_the_questions_words_counts_also_when_there_are_no_vectors() -> None:
    assert (
        verdict("What is part PX-4471?", [passage("Part PX-4471 is a valve.", similarity=None)])
        is Verdict.ANSWERABLE
    )


def test_passages_that_have_nothing_to_do_with_the_question_are_no_answer() -> None:
    found = [passage("Boil the water.", similarity=0.1)]
    assert verdict("Who won the football league in Portugal?", found) is Verdict.NOT_FOUND


def test_a_passage_that_is_only_distantly_like_the_question_is_no_answer() -> None:
    # The nearest that the starter library has to this question, and what it had for one it can answer.
    assert (
        verdict("What is the boiling point of gold?", [passage("Boil the water.", similarity=0.33)])
        is Verdict.NOT_FOUND
    )
    assert (
        verdict("Can a magazine immobilise a forearm?", [passage("Pad the splint.", similarity=0.355)])
        is Verdict.ANSWERABLE
    )


def test_nothing_found_is_not_found() -> None:
    assert verdict("anything", []) is Verdict.NOT_FOUND


def test_the_passage_nearest_in_meaning_is_quoted_first_under_its_own_number() -> None:
    found = [passage("Safest water source.", similarity=0.4), passage("Boil it.", similarity=0.7)]
    assert list(quotations("safe water?", found, most=1)) == [Token("> Boil it."), Citation(2)]


def test_the_same_words_in_other_punctuation_are_one_passage() -> None:
    from llm.answering.answer import _distinct

    found = [
        passage("Condy\u2019s Crystals purify."),
        passage("Condy's crystals purify"),
        passage("Boil it."),
    ]
    assert _distinct(found) == (found[0], found[2])
