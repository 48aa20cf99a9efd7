"""The language of a text: as its file states it, else as its letters show it, else nothing."""

from pathlib import Path

import pytest

from ingest.extract import extract
from ingest.extract.language import detect, stated_or_detected
from library.values import Section

TEXTS = {
    "en": "Boil the water for one minute and let it cool before you drink it.",
    "de": "Das Wasser wird eine Minute lang gekocht und muss abkühlen, bevor man es trinkt.",
    "fr": "Il faut faire bouillir l'eau pendant une minute avant de la boire.",
    "es": "Hay que hervir el agua durante un minuto y dejarla enfriar antes de beberla.",
    "ru": "Вскипятите воду в течение одной минуты и дайте ей остыть.",
    "ar": "يجب غلي الماء لمدة دقيقة واحدة قبل شربه",
    "he": "יש להרתיח את המים במשך דקה אחת לפני השתייה",
    "ja": "水は飲む前に一分間沸騰させてください。",
    "zh": "饮用之前应将水煮沸一分钟，然后让它冷却。",
    "ko": "물을 마시기 전에 일 분 동안 끓이십시오.",
    "el": "Βράστε το νερό για ένα λεπτό πριν το πιείτε.",
    "hi": "पीने से पहले पानी को एक मिनट तक उबालें।",
}


def sections(*texts: str) -> tuple[Section, ...]:
    return tuple(Section(at, 1, ("T",), "", text) for at, text in enumerate(texts))


@pytest.mark.parametrize("language", TEXTS)
def test_a_short_note_shows_its_language(tmp_path: Path, language: str) -> None:
    path = tmp_path / "note.md"
    path.write_text(TEXTS[language], encoding="utf-8")
    assert extract(path).language == language


@pytest.mark.parametrize(
    "text", ["Milk, eggs, bread", "1 2 3 4 5 6 7 8 9", "x = y + z; return x;", "ok", "https://x.test/a?b=c"]
)
def test_what_could_be_any_language_is_none(text: str) -> None:
    assert detect(sections(text)) is None


def test_the_greater_part_of_a_document_decides() -> None:
    assert detect(sections(TEXTS["en"] * 3, *[TEXTS["de"] * 30] * 5)) == "de"
    halves = sections(TEXTS["en"] * 30, TEXTS["de"] * 25)
    assert detect(halves) in {None, "en", "de"}
    assert detect(()) is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("fr", "fr"), ("en-gb", "en-gb"), ("und", "de"), ("mul", "de"), ("zxx", "de"), ("", "de"), (None, "de")],
)
def test_what_the_file_states_is_kept_unless_it_states_nothing(stated: str | None, expected: str) -> None:
    assert stated_or_detected(stated, sections(TEXTS["de"])) == expected
