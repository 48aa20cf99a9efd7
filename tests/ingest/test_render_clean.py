"""Cleaning: what is on the list is kept and written anew; of everything else only its text is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ingest.extract import markup
from ingest.render.clean import clean
from ingest.render.drawings import drawing
from ingest.render.leaves import leaves
from ingest.render.pictures import media_type
from ingest.render.tokens import Close, Open, Text
from ingest.render.writing import Stretch, write


class Everything:
    """Every link and picture leads somewhere."""

    def link(self, address: str) -> str | None:
        return None if ":" in address else f"/read/x?part={address}"

    def picture(self, address: str) -> tuple[str, tuple[int, int] | None] | None:
        return None if ":" in address or not address else ("/read/x/picture?name=p", None)


def shown(body: str) -> str:
    root = markup.parse(f"<html><body>{body}</body></html>")
    return write(clean(root, Everything()).tokens, 0, [], {})


@pytest.mark.parametrize(
    "attack",
    [
        "<script>pwn()</script>",
        "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
        '<img src="x:y" onerror="pwn()">',
        '<img src="p.png" srcset="//evil.example/p.png 2x" onload=pwn()>',
        '<a href="javascript:pwn()">go</a>',
        '<a href=" java\tscript:pwn()">go</a>',
        '<a href="data:text/html,<script>pwn()</script>">go</a>',
        '<a href="vbscript:pwn()">go</a>',
        '<svg onload="pwn()"><script>pwn()</script><a xlink:href="javascript:pwn()"><text>t</text></a></svg>',
        '<iframe src="//evil.example" srcdoc="<script>pwn()</script>"></iframe>',
        '<object data="//evil.example"><embed src="//evil.example"></object>',
        '<meta http-equiv="refresh" content="0;url=//evil.example"><base href="//evil.example/">',
        '<link rel="stylesheet" href="//evil.example/x.css">',
        "<style>@import '//evil.example/x.css'; p { background: url(//evil.example) }</style>",
        '<p style="background:url(//evil.example)">text</p>',
        '<form action="//evil.example"><input name=q autofocus onfocus=pwn()><button formaction="//evil.example">b</button></form>',
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=pwn()&gt;">',
        '<math><annotation-xml encoding="text/html"><svg><script>pwn()</script></svg></annotation-xml></math>',
        '<noscript><p title="</noscript><img src=x onerror=pwn()>">',
        '<textarea><img title="</textarea><img src=x onerror=pwn()>"></textarea>',
        "<video src=//evil.example poster=//evil.example autoplay></video><audio src=//evil.example></audio>",
        '<p id="x&quot; onclick=&quot;pwn()" lang=\'en" onclick="pwn()\' dir="rtl onclick">t</p>',
        '<body onload="pwn()" background="//evil.example"><table background="//evil.example"><tr><td>x',
        "<template><script>pwn()</script></template><xmp><script>pwn()</script></xmp><plaintext><script>",
    ],
)
def test_nothing_that_acts_or_loads_survives(attack: str) -> None:
    written = shown(f"<p>before</p>{attack}<p>after</p>")
    # As a browser reads it: by an HTML parser, not by the one that read the book.
    root = etree.fromstring(f"<div>{written}</div>", etree.HTMLParser())
    for element in root.iter("*"):
        assert element.tag in ALLOWED, element.tag
        for name, value in element.attrib.items():
            assert name in {"id", "class", "href", "src", "alt", "lang", "dir", "loading", "decoding"}, name
            if name in {"href", "src"}:
                assert value.startswith(("/read/", "#")), value
            if name == "id":
                assert value.startswith("b-")
    assert "before" in written


ALLOWED = frozenset(
    {"html", "body", "div", "p", "a", "img", "span", "table", "tbody", "tr", "td", "math", "mtext"}
)


@given(st.text(alphabet="<>/=\"'& \nabipsvgtdrmhx-!", max_size=200))
def test_any_soup_comes_out_balanced_with_all_text_escaped(soup: str) -> None:
    root = markup.parse(f"<html><body>{soup}</body></html>")
    tokens = clean(root, Everything()).tokens
    open_: list[str] = []
    for token in tokens:
        if isinstance(token, Open):
            open_.append(token.name)
        elif isinstance(token, Close):
            assert open_.pop() == token.name
    assert open_ == []
    written = write(tokens, 0, [], {})
    tags = re.findall(r"<(/?[a-z0-9]+)[^<>]*>", written)
    assert written.count("<") == len(tags)


def test_ids_are_the_books_own_and_can_never_be_ours() -> None:
    written = shown('<p id="passage">a</p><p id="passage">b</p><a name="main"></a><p id="h1">c</p>')
    assert re.findall(r' id="([^"]*)"', written) == ["b-passage", "b-main", "b-h1"]


def test_links_inside_lead_into_the_reader_and_links_outside_are_marked_and_tell_nobody() -> None:
    written = shown(
        '<a href="two.xhtml#n1">in</a> <a href="https://example.org/?a=1&b=2">out</a> <a href="mailto:a@b">m</a>'
    )
    assert 'href="/read/x?part=two.xhtml#n1"' in written
    assert 'href="https://example.org/?a=1&amp;b=2" rel="noreferrer noopener nofollow"' in written
    assert "mailto" not in written
    assert written.endswith("</a> m")


def test_language_direction_ruby_tables_and_formulas_stay() -> None:
    written = shown(
        '<p lang="he" dir="rtl">שלום</p><ruby>山<rt>やま</rt></ruby>'
        '<table><tr><td colspan="2" onclick="x">a</td></tr></table><ol start="3"><li>c</li></ol>'
        '<math display="block"><mi onclick="x">x</mi><mo>&lt;</mo><mn>2</mn></math>'
    )
    assert '<p lang="he" dir="rtl">שלום</p>' in written
    assert "<ruby>山<rt>やま</rt></ruby>" in written
    assert '<td colspan="2">a</td>' in written
    assert '<ol start="3">' in written
    assert '<math display="block"><mi>x</mi><mo>&lt;</mo><mn>2</mn></math>' in written


def test_a_table_that_a_browser_would_take_apart_is_shown_as_blocks() -> None:
    written = shown("<table>stray words<tr><td>cell</td></tr></table>")
    assert "<table" not in written
    assert "stray words" in written


def test_a_picture_that_is_not_shown_leaves_its_description() -> None:
    assert '<span class="b-alt">A well</span>' in shown('<img src="http://x/y.png" alt="A well">')


def test_marks_wrap_letters_and_never_cross_a_tag() -> None:
    root = markup.parse("<html><body><p>One <b>two</b> three</p><p>four &amp; five</p></body></html>")
    tokens = clean(root, Everything()).tokens
    written = write(tokens, 0, [Stretch(3, 15, "passage", "passage")], {11: ["s1"]})
    assert written == (
        '<p>One <b><mark id="passage" class="passage">two</mark></b><mark class="passage"> three</mark></p>'
        '<p><span id="s1" class="b-place"></span><mark class="passage">four</mark> &amp; five</p>'
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(50, 500))
def test_leaves_hold_every_text_once_in_order_and_are_whole(sizes: list[int], most: int) -> None:
    tokens = [Open("div", "<div>", divides=True)]
    for number, size in enumerate(sizes):
        tokens += [Open("p", f'<p id="b-{number}">'), Text(f"{number} " + "x" * size), Close("p")]
    tokens.append(Close("div"))
    cut = leaves(tokens, most=most)
    texts = [token.text for leaf in cut for token in leaf if isinstance(token, Text)]
    assert "".join(texts) == "".join(token.text for token in tokens if isinstance(token, Text))
    for leaf in cut:
        opened = sum(isinstance(token, Open) for token in leaf)
        assert opened == sum(isinstance(token, Close) for token in leaf)
        assert sum(len(token.text) for token in leaf if isinstance(token, Text)) <= 3 * most + 400


def test_a_paragraph_that_is_a_book_is_cut_between_words() -> None:
    tokens = [Open("p", '<p id="b-x">'), Text("word " * 50_000), Close("p")]
    cut = leaves(tokens)
    assert len(cut) > 1
    assert all(len("".join(t.text for t in leaf if isinstance(t, Text))) <= 240_000 for leaf in cut)
    assert sum('id="b-x"' in write(leaf, 0, [], {}) for leaf in cut) == 1


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (10).to_bytes(4, "big") + (12).to_bytes(4, "big") + b"\x08\2\0\0\0"


@pytest.mark.parametrize(
    ("content", "type_"),
    [
        (PNG, "image/png"),
        (b"GIF89a\x01\0\x01\0\0\0\0", "image/gif"),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\0\x10\0\x20\x03", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x0f\0\0\x0f\0\0", "image/webp"),
        (b"<html><script>pwn()</script></html>", None),
        (PNG.replace((10).to_bytes(4, "big"), (2**31).to_bytes(4, "big")), None),
        (PNG[:20], None),
        (b"\xff\xd8\xff\xff\xff", None),
        (b"", None),
    ],
)
def test_a_picture_is_what_its_bytes_say_and_no_larger_than_a_screen_can_use(
    content: bytes, type_: str | None
) -> None:
    assert media_type(content) == type_


@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFFxxxxWEBP", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]),
)
def test_no_bytes_break_the_look_at_a_picture(content: bytes, start: bytes) -> None:
    media_type(start + content)


SVG = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def test_a_drawing_keeps_what_draws_and_nothing_that_acts_or_leads_away() -> None:
    written = drawing(
        f"""<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "http://evil.example/d.dtd"><!-- c -->
        <svg {SVG} onload="pwn()" width="4"><script>pwn()</script><style>@import "//evil.example"</style>
        <style>path {{ fill: red }}</style><defs><g id="a"/></defs><use href="#a"/><use xlink:href="//evil.example/x#a"/>
        <image href="https://evil.example/p.png"/><path d="M0 0h4" fill="url(#g)" style="fill:url(http://evil.example)"/>
        <a xlink:href="javascript:pwn()"><text>in a link</text></a><foreignObject><p>x</p></foreignObject>
        <animate attributeName="href" to="javascript:pwn()"/><text>words</text></svg>""".encode()
    )
    assert written is not None
    text = written.decode()
    assert not re.search(r"evil|pwn|script|foreign|animate|DOCTYPE|onload", text)
    assert all(
        kept in text
        for kept in ('d="M0 0h4"', 'fill="url(#g)"', 'href="#a"', "fill: red", "words", 'width="4"')
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg>", b"<html><svg/></html>", b"\x89PNG", b"<svg xmlns='x'/>", b"<svg" * 600_000],
)
def test_what_is_no_drawing_is_none(content: bytes) -> None:
    assert drawing(content) is None


def test_a_drawing_has_no_entities_left_to_expand() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    content = f'<!DOCTYPE svg [<!ENTITY l0 "ha">{laughs}]><svg {SVG}><text>&l9;</text></svg>'
    written = drawing(content.encode())
    assert written is not None
    assert len(written) < 1000
