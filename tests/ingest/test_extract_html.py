"""What a page's markup becomes: blocks, headings, anchors, and nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.extract import html
from ingest.extract.markup import parse
from ingest.extract.outline import Block, Event, Heading, Outline
from library.errors import UnreadableFile
from library.values import Section


def events(body: str) -> list[Event]:
    return html.events(parse(f"<html><body>{body}</body></html>"), file="f.xhtml")


def blocks(body: str) -> list[str]:
    return [event.text for event in events(body) if isinstance(event, Block)]


def headings(body: str) -> list[tuple[int, str, str]]:
    return [(event.level, event.text, event.anchor) for event in events(body) if isinstance(event, Heading)]


def sections(body: str) -> tuple[Section, ...]:
    outline = Outline("Book")
    outline.add(events(body), anchor="f.xhtml")
    return outline.sections()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>Boil \n\t the&#160;water.</p>", ["Boil the water."]),
        ("loose<p>one</p>between<div>two</div>end", ["loose", "one", "between", "two", "end"]),
        ("<p>a<b>b</b><i>c</i> <span>d</span></p>", ["abc d"]),
        ("<ul><li>one</li><li>two</li></ul>", ["- one\n- two"]),
        ("<ol start='3'><li>c</li><li>d</li></ol>", ["3. c\n4. d"]),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", ["- a\n  - b\n- c"]),
        ("<ol><li><p>a</p><p>more</p></li></ol>", ["1. a\n  more"]),
        ("<dl><dt>Tinder</dt><dd>Dry stuff.</dd></dl>", ["Tinder\n  Dry stuff."]),
        (
            "<table><caption>Doses</caption><tr><th>Age</th></tr><tr><td><p>2</p><p>daily</p></td></tr></table>",
            ["Doses\nAge\n2 daily"],
        ),
        (
            "<table><tr><th>Age</th><th>Dose</th></tr><tr><td>6</td><td>2</td></tr></table>",
            ["Age | Dose\n6 | 2"],
        ),
        ("<table><tr><td>a</td><td></td><td>c</td><td></td></tr></table>", ["a |  | c"]),
        ("<table><tr><td><table><tr><td>in</td></tr></table></td><td>out</td></tr></table>", ["in | out"]),
        ("<pre>if x:\n    go()\n\n\n\nend</pre>", ["if x:\n    go()\n\nend"]),
        ("<p>Rose<br/>are red,<br/>violets</p>", ["Rose\nare red,\nviolets"]),
        ("<p>one<br/><br/>two</p>", ["one", "two"]),
        (
            "<figure><img src='k.png' alt='A reef knot'/><figcaption>Fig. 1</figcaption></figure>",
            ["A reef knot", "Fig. 1"],
        ),
        ("<p><img alt='C'/>all me <img alt='a whale'/>.</p>", ["Call me a whale ."]),
        ("<p><img alt='images/fig1.png'/>x<img alt=''/></p>", ["x"]),
        ("<p><ruby>山<rp>(</rp><rt>やま</rt><rp>)</rp></ruby>路</p>", ["山路"]),
        ("<script>bad()</script><style>p{}</style><template>t</template><p>good</p>", ["good"]),
        (
            "<p>word<a href='#n1' role='doc-noteref'>1</a> and<sup><a href='#n2'>2</a></sup>.</p>",
            ["word[1] and[2]."],
        ),
        ("<p>the 5<sup>th</sup>, H<sub>2</sub>O</p>", ["the 5th, H2O"]),
        ("<nav hidden=''><ol><li>secret</li></ol></nav><aside hidden=''>a footnote</aside>", ["a footnote"]),
        ("<p>caf&#101;&#769; and co&shy;operate&#xFEFF;</p>", ["café and cooperate"]),
        ("<p>مرحبا بالعالم</p><p>吾輩は　猫である</p>", ["مرحبا بالعالم", "吾輩は 猫である"]),
        ("<math><mi>x</mi> <mo>=</mo>\n<mn>2</mn><annotation>x=2</annotation></math>", ["x = 2"]),
        ("<math alttext='pi'/>", ["pi"]),
        ("<svg><title>Map</title><text>North</text></svg>", ["Map", "North"]),
        ("<blockquote><p>Quote</p></blockquote><address>Here</address>", ["Quote", "Here"]),
        ("<p>AT&T, R&D; and &nosuch; x</p>", ["AT&T, R&D; and &nosuch; x"]),
    ],
)
def test_visible_text_is_kept_once_and_in_order(body: str, expected: list[str]) -> None:
    assert blocks(body) == expected


@pytest.mark.parametrize(
    ("body", "anchor"),
    [
        ("<h2 id='own'>H</h2>", "f.xhtml#own"),
        ("<h2><a id='inside'></a>H</h2>", "f.xhtml#inside"),
        ("<section id='around'><h2>H</h2></section>", "f.xhtml#around"),
        ("<p id='far'>text</p><h2>H</h2>", "f.xhtml"),
        ("<p>text</p><a name='old'></a><h2>H</h2>", "f.xhtml#old"),
    ],
)
def test_a_heading_is_anchored_at_its_own_id_or_the_nearest_one_above(body: str, anchor: str) -> None:
    assert headings(body) == [(2, "H", anchor)]


def test_a_heading_of_several_lines_is_one_line() -> None:
    assert headings("<h1><span>Chapter 1</span><br/>\n<em>Loomings</em></h1>") == [
        (1, "Chapter 1 Loomings", "f.xhtml")
    ]


def test_an_empty_heading_is_no_heading() -> None:
    assert headings("<h1> <img alt=''/></h1>") == []


def test_a_table_that_holds_headings_is_a_layout_and_its_headings_count() -> None:
    body = "<table><tr><td><h2>Fire</h2><p>Dry wood.</p></td><td>Aside.</td></tr></table>"
    assert [(section.heading_path, section.text) for section in sections(body)] == [
        (("Book", "Fire"), "Dry wood.\n\nAside.")
    ]


def test_a_heading_inside_a_list_ends_what_stands_above_it() -> None:
    found = sections("<ul><li>a</li><li><h2>H</h2>b</li></ul>")
    assert [(section.heading_path, section.text) for section in found] == [
        (("Book",), "- a"),
        (("Book", "H"), "- b"),
    ]


def test_text_after_an_aside_belongs_to_the_heading_before_it() -> None:
    body = (
        "<h1>Water</h1><p>Boil it.</p><aside><h2>Note</h2><p>High up, longer.</p></aside><p>Let it cool.</p>"
    )
    assert [(section.heading_path, section.text) for section in sections(body)] == [
        (("Book", "Water"), "Boil it."),
        (("Book", "Water", "Note"), "High up, longer."),
        (("Book", "Water"), "Let it cool."),
    ]


def test_text_before_the_first_heading_is_a_section_under_the_title() -> None:
    assert [section.heading_path for section in sections("<p>Preface</p><h1>One</h1><p>x</p>")] == [
        ("Book",),
        ("Book", "One"),
    ]


def test_a_heading_with_nothing_under_it_is_its_own_text() -> None:
    found = sections("<h1>Empty</h1><h1>Part</h1><h2>Chapter</h2><p>x</p><h1>Last</h1>")
    assert [(section.heading_path, section.text) for section in found] == [
        (("Book", "Empty"), "Empty"),
        (("Book", "Part", "Chapter"), "x"),
        (("Book", "Last"), "Last"),
    ]


def test_a_run_of_bare_headings_is_a_contents_list() -> None:
    found = sections("<h1>Kits</h1><h1>Apps</h1><h1>Fire</h1><h1>Sea</h1><p>Salt.</p>")
    assert [(section.heading_path, section.text) for section in found] == [
        (("Book",), "Kits\nApps\nFire"),
        (("Book", "Sea"), "Salt."),
    ]


def test_a_paragraph_marked_up_as_a_heading_is_cut_in_the_path_and_whole_in_the_text() -> None:
    long = "word " * 200
    (section,) = sections(f"<h1>{long}</h1><p>after</p>")
    assert len(section.heading_path[-1]) <= 200
    assert section.text == f"{long.strip()}\n\nafter"


def test_the_title_is_not_repeated_in_the_path() -> None:
    (section,) = sections("<h1>BOOK.</h1><h2>One</h2><p>x</p>")
    assert section.heading_path == ("Book", "One")


@pytest.mark.parametrize("depth", [200, 300, 100_000])
def test_nesting_is_read_or_refused_but_never_cut_short(depth: int) -> None:
    body = "<div>x" * depth + "<p>the end</p>"
    if depth < 250:
        assert blocks(body)[-1] == "the end"
    else:
        with pytest.raises(UnreadableFile, match="nested"):
            blocks(body)


def test_a_text_longer_than_the_parser_holds_is_refused_rather_than_dropped() -> None:
    with pytest.raises(UnreadableFile, match="without a break"):
        blocks("<p>" + "long " * 2_200_000 + "</p><p>after</p>")


def test_a_self_closed_script_does_not_swallow_a_page_that_is_not_well_formed() -> None:
    page = "<html><head><title/><script src='x'/></head><body><p>one<br>two & three<p>four</body></html>"
    found = html.events(parse(page))
    assert [event.text for event in found if isinstance(event, Block)] == ["one\ntwo & three", "four"]


def test_nothing_a_document_type_declares_is_expanded() -> None:
    page = (
        '<!DOCTYPE html [<!ENTITY xxe SYSTEM "file:///etc/passwd"><!ENTITY lol "lol"><!ENTITY l2 "&lol;&lol;">]>'
        "<html><body><p>a&xxe;b&l2;c&eacute;</p></body></html>"
    )
    found = html.events(parse(page))
    assert found == [Block("abcé")]


WORDS = st.text(alphabet="abc é山,.", min_size=1, max_size=8).filter(str.strip)
INLINE = st.one_of(WORDS, st.builds("<b>{}</b>".format, WORDS), st.builds("{}<br/>{}".format, WORDS, WORDS))
FLOW = st.recursive(
    st.builds("<p>{}</p>".format, INLINE) | INLINE | st.builds("<h2>{}</h2>".format, WORDS),
    lambda inner: st.one_of(
        st.builds("<div>{}{}</div>".format, inner, inner),
        st.builds("<ul><li>{}</li><li>{}</li></ul>".format, inner, inner),
        st.builds("<table><tr><td>{}</td><td>{}</td></tr></table>".format, inner, inner),
        st.builds("<aside>{}</aside>{}".format, inner, inner),
        st.builds("<dl><dt>{}</dt><dd>{}</dd></dl>".format, inner, inner),
        st.builds("<pre>{}</pre>".format, inner),
    ),
    max_leaves=12,
)


@given(FLOW)
def test_every_letter_of_any_page_comes_out_once_and_in_order(body: str) -> None:
    root = parse(f"<html><body>{body}</body></html>")
    wanted = "".join(letter for letter in "".join(root.itertext()) if letter.isalpha())
    found = "".join(event.text for event in html.events(root) if isinstance(event, Block | Heading))
    assert "".join(letter for letter in found if letter.isalpha()) == wanted
