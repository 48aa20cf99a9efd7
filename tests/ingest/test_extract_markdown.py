"""What a note becomes: its front matter, its headings with GitHub's anchors, its blocks."""

import sys
from pathlib import Path

import pytest

from ingest.extract import extract
from ingest.extract.markdown import extract_markdown
from ingest.limits import Limits
from library.errors import UnreadableFile
from library.values import Extracted


def note(folder: Path, text: str, name: str = "a_small-note.md") -> Extracted:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return extract(path)


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("title: Fire\nauthor: Ann\nlang: DE\ndate: 2021-05-06", ("Fire", ("Ann",), "de", 2021)),
        (
            "title: Fire\nauthors: [Ann, {name: Bob}, 3]\nedition: 2nd ed. 1999",
            ("Fire", ("Ann", "Bob"), None, 1999),
        ),
        ("title: 1984\nlanguage: English\nyear: 1949", ("1984", (), None, 1949)),
        ("title: [not, text]\ndate: 2021-99-99", ("Heading", (), None, None)),
        (": : :\n\t- broken", ("Heading", (), None, None)),
        ("just words", ("Heading", (), None, None)),
        ("a: &a [x]\nb: [*a, *a]", ("Heading", (), None, None)),
    ],
)
def test_front_matter_is_a_courtesy(tmp_path: Path, front: str, expected: tuple[object, ...]) -> None:
    found = note(tmp_path, f"---\n{front}\n---\n\n# Heading\n\ntext\n")
    assert (found.title, found.authors, found.language, found.year) == expected
    assert found.sections[0].text == "text"


def test_without_a_title_the_first_heading_and_then_the_file_name_is_one(tmp_path: Path) -> None:
    assert note(tmp_path, "intro\n\n# Fire\n\nx").title == "Fire"
    assert note(tmp_path, "## Only a second level\n\nx").title == "A small note"


def test_headings_become_paths_with_the_anchors_github_gives(tmp_path: Path) -> None:
    found = note(
        tmp_path,
        "# Book\n\nx\n\n## What's *new*, in `v1.0`?\n\ny\n\n### Ünder_line\n\nz\n\n## Same\n\na\n\n## Same\n\nb",
    )
    assert [(section.heading_path, section.level, section.anchor) for section in found.sections] == [
        (("Book",), 1, "book"),
        (("Book", "What's new, in v1.0?"), 1, "whats-new-in-v10"),
        (("Book", "What's new, in v1.0?", "Ünder_line"), 2, "ünder_line"),
        (("Book", "Same"), 1, "same"),
        (("Book", "Same"), 1, "same-1"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soft\nwrapped\n\nhard  \nbreak", "soft wrapped\n\nhard\nbreak"),
        ("- a\n  - b\n- [ ] c\n\n1. d\n1. e", "- a\n  - b\n- [ ] c\n\n1. d\n2. e"),
        ("| a | b |\n|---|:-:|\n| 1 | `2` |", "a | b\n1 | 2"),
        ("```py\nif x:\n    y\n\n\n\nz\n```", "if x:\n    y\n\nz"),
        ("> quoted\n> text", "quoted text"),
        ("[a link](http://x.test) and <http://y.test> ~~gone~~", "a link and http://y.test gone"),
        ("![A knot](k.png)", "A knot"),
        ("Term\n: Meaning", "Term\n  Meaning"),
        (
            "Boil[^1].\n\n[^1]: Not at\n    sea level.\n\n[^2]: Unused.",
            "Boil[1].\n\n[1] Not at sea level.\n\n[2] Unused.",
        ),
        ("regex `[^a]` and [^b-c]", "regex [^a] and [^b-c]"),
        ("git clone <repository> and <b>bold</b>", "git clone <repository> and bold"),
        ("<div>\n<script>bad()</script>\n<p>raw</p>\n</div>\n\n<!-- unseen -->", "raw"),
        ("&amp; &copy; \\*star\\*", "& © *star*"),
        ("> [!NOTE]\n> Boil *it*.", "Note\nBoil it."),
        ("> [!warning]- Own title\n> more", "Own title\nmore"),
        ("> [!NOTE]\n\ntext", "Note\n\ntext"),
        (
            '!!! note "My title"\n    Inside.\n\n    Second.\n\nAfter.',
            "My title\n\nInside.\n\nSecond.\n\nAfter.",
        ),
        ("!!! danger\n    Run.\n\n??? tip\n    Hide.", "Danger\n\nRun.\n\nTip\n\nHide."),
        (":::note\nOne.\n\nTwo.\n:::\n\nAfter.", "Note\n\nOne.\n\nTwo.\n\nAfter."),
        (":::tip[Boxed]\nx\n:::\n\n:::info Plain *title*\ny\n:::", "Boxed\n\nx\n\nPlain *title*\n\ny"),
        (
            "see [[Fire]], [[Fire|how to]], [[Fire#Wet wood]] and ![[Knots]]",
            "see Fire, how to, Fire › Wet wood and Knots",
        ),
        ("![[knot.png]]![[knot.png|300]]![[knot.png|A knot]] [[]] [[a", "A knot [[]] [[a"),
        ("| a |\n|---|\n| [[Page\\|words]] |", "a\nwords"),
        ("- [ ] to do\n- [x] done", "- [ ] to do\n- [x] done"),
        ("It costs $5 and $6. So $a_1 * b_2 * c_3$.", "It costs $5 and $6. So $a_1 * b_2 * c_3$."),
        ("$$\nx_1 * y_2\n- z\n$$", "$$\nx_1 * y_2\n- z\n$$"),
        ("~~~\n# no heading\n!!! note\n[[x]]\n~~~", "# no heading\n!!! note\n[[x]]"),
        ("Plain words\non two lines.\n\nTerm\n\n: Meaning", "Plain words on two lines.\n\nTerm\n  Meaning"),
        ("words\n- item\n\nlast\n===", "words\n\n- item\n\nlast"),
    ],
)
def test_visible_text_is_kept_as_blocks(tmp_path: Path, text: str, expected: str) -> None:
    assert "\n\n".join(section.text for section in note(tmp_path, text).sections) == expected


def test_other_front_matter_becomes_subjects_description_and_identifiers(tmp_path: Path) -> None:
    yaml = (
        "---\ntags: [fire, '#Wood', 3]\nsummary: <b>How</b> to.\nisbn: 0-306-40615-2\nid: note-7\n---\ntext"
    )
    toml = "+++\ntitle = 'Kit'\nkeywords = 'fire, wood'\ndate = 2021-05-06\n[extra]\na = 1\n+++\ntext"
    found = note(tmp_path, yaml)
    assert (found.subjects, found.description) == (("fire", "Wood", "3"), "How to.")
    assert found.identifiers == ("isbn:9780306406157", "note-7")
    found = note(tmp_path, toml)
    assert (found.title, found.subjects, found.year) == ("Kit", ("fire", "wood"), 2021)
    assert [section.text for section in found.sections] == ["text"]
    assert [section.text for section in note(tmp_path, "+++\nbroken [\n+++\ntext").sections] == ["text"]


def test_a_heading_may_state_its_own_anchor(tmp_path: Path) -> None:
    (section,) = note(tmp_path, "# Fire making {#fire}\n\nDry wood.").sections
    assert (section.heading_path, section.anchor) == (("Fire making",), "fire")


@pytest.mark.parametrize(
    "mark",
    [
        "![",
        "[",
        "![[",
        "[[",
        "[a](",
        "[a][",
        "![[a](b)",
        "*a ",
        "_a",
        "`a ``",
        "<a ",
        "$a ",
        "$$",
        "> ",
        "&",
        "\\[",
        "[^a] ",
    ],
)
def test_no_mark_costs_more_than_its_length(tmp_path: Path, mark: str) -> None:
    def work(times: int) -> int:
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            extract(path(times))
        except UnreadableFile:
            return 0
        finally:
            sys.setprofile(None)
        return calls

    def path(times: int) -> Path:
        written = tmp_path / "marks.md"
        written.write_text(mark * times + "x")
        return written

    extract(path(1))  # what is loaded once
    few, many = work(1000), work(4000)
    assert many < 6 * few + 10_000
    assert many < 100 * 4000 * len(mark)


def test_a_text_of_brackets_alone_is_kept_as_it_is(tmp_path: Path) -> None:
    (section,) = note(tmp_path, "![" * 5000).sections
    assert section.text == "![" * 5000


def test_lists_nested_beyond_reading_are_refused_rather_than_cut(tmp_path: Path) -> None:
    assert note(tmp_path, "> " * 80 + "deep").sections[0].text == "deep"
    with pytest.raises(UnreadableFile, match="nested"):
        note(tmp_path, "> " * 5000 + "deep")


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("x" * (1 << 20) + "y")
    with pytest.raises(UnreadableFile, match="larger than 1 MiB"):
        extract_markdown(path, Limits(max_text_mib=1))
