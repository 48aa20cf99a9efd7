"""Books for the reader: one of each format, among them one from right to left and one in Japanese, and hostile ones."""

import struct
import zlib
from pathlib import Path

from tests.ingest.books import METADATA, opf, write_epub, write_pdf, xhtml

SENTENCES = (
    "The cistern under the north wall holds nine barrels, and its lid is never left open overnight.",
    "Before the frost comes, drain the upper pipe & close the valve with the *blue* handle.",
    "Whoever draws water after dusk takes the lantern along, for the third step is broken.",
    "Marigold seed keeps four years in a dry jar [if the jar is sealed with wax].",
    "In 1984 the well ran dry for eleven days; since then two buckets stand ready.",
)
PLATES = 6
HEBREW = "הבאר שבחצר עמוקה מאוד, ומימיה צלולים וקרים גם בקיץ. מי ששואב בערב לוקח עמו פנס."
JAPANESE = "山路を登りながら、こう考えた。智に働けば角が立つ。情に棹させば流される。"


def png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = (b"\0" + b"\x99" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chapter(number: int) -> str:
    """A chapter with everything that extraction writes differently from what the page shows."""
    one, two, three, four, five = (f"{sentence} ({number})" for sentence in SENTENCES)
    four = four.replace("&", "&amp;")
    two = two.replace("&", "&amp;")
    return xhtml(
        f'<section epub:type="chapter"><h1 id="top">Chapter {number}</h1><p>{one} {two}<a epub:type="noteref" href="#n1">1</a></p>'
        f"<p>{three} <b>{four}</b> <i>and</i> <span>{five}</span></p>"
        f"<h2>Lists of {number}</h2><ol><li>1984 barrels</li><li>{one}<ul><li>{two}</li><li>{three}</li></ul></li></ol>"
        f"<table><tr><th>Month</th><th>Barrels</th></tr><tr><td>May {number}</td><td>9</td></tr><tr><td>June</td><td></td></tr></table>"
        f'<figure><img src="../images/well.png" alt="A well with its lid"/><figcaption>{four}</figcaption></figure>'
        f"<p>It holds <math xmlns='http://www.w3.org/1998/Math/MathML'><mi>x</mi><mo>+</mo><mn>{number}</mn></math> barrels.</p>"
        f'<p>{" ".join([five, one] * 12)}</p><p><a href="c{number + 1}.xhtml#top">On to the next</a></p>'
        f'<pre>lid:   open\n  valve: shut</pre><aside epub:type="footnote" id="n1"><p>{three}</p></aside></section>'
    )


def put_books(library: Path) -> None:
    """One of each format."""
    shelf = library / "shelf"
    shelf.mkdir(parents=True, exist_ok=True)
    write_epub(
        shelf / "cistern.epub",
        {
            "text/cover.xhtml": xhtml(
                '<svg xmlns="http://www.w3.org/2000/svg"><image href="../images/well.png"/></svg>'
            )
        }
        | {f"text/c{number}.xhtml": chapter(number) for number in range(1, 9)},
        package=opf(
            ["text/cover.xhtml", *(f"text/c{number}.xhtml" for number in range(1, 9))],
            metadata=METADATA.replace("A Book", "The Cistern"),
            manifest='<item id="well" href="images/well.png" media-type="image/png" properties="cover-image"/>',
        ),
        extra={"OEBPS/images/well.png": png()},
    )
    hebrew = f"<h1>הבאר</h1>{''.join(f'<p>{HEBREW} {n}</p>' for n in range(30))}"
    write_epub(
        shelf / "hebrew.epub",
        {"c.xhtml": xhtml(hebrew).replace("<html ", '<html dir="rtl" lang="he" ')},
        metadata="<dc:title>באר</dc:title><dc:language>he</dc:language>",
    )
    ruby = "<ruby>山路<rt>やまみち</rt></ruby>"
    japanese = "".join(f"<p>{JAPANESE.replace('山路', ruby)}{n}</p>" for n in range(40))
    write_epub(
        shelf / "japanese.epub",
        {"c.xhtml": xhtml(f"<h1>草枕</h1>{japanese}").replace("<html ", '<html lang="ja" ')},
        metadata="<dc:title>草枕</dc:title><dc:language>ja</dc:language>",
    )
    plates = "".join(
        f'<h2>Plate {n}</h2><figure><img src="plates/{n}.png" alt=""/></figure><p>{SENTENCES[n % 5]}</p>'
        for n in range(PLATES)
    )
    write_epub(
        shelf / "plates.epub",
        {"c.xhtml": xhtml(f"<h1>Plates</h1>{plates}")},
        metadata="<dc:title>Plates</dc:title><dc:language>en</dc:language>",
        extra={f"OEBPS/plates/{n}.png": png(600, 900 + n) for n in range(PLATES)},
    )
    lines = [f"- {sentence}\n" for sentence in SENTENCES]
    parts = [
        f"## Part {n}\n\n{SENTENCES[n % 5]} {SENTENCES[(n + 1) % 5]}\n\n{''.join(lines)}\n"
        f"| Month | Barrels |\n|---|---|\n| May | {n} |\n\n> {SENTENCES[2]}\n\n```\nlid = {n}\n```\n\n[back](#part-0)\n"
        for n in range(60)
    ]
    (shelf / "notes.md").write_text("# Notes of the well\n\n![a well](well.png)\n\n" + "\n".join(parts))
    (shelf / "well.png").write_bytes(png())
    paragraphs = "".join(
        f"<h2 id=p{n}>Page {n}</h2><p>{SENTENCES[n % 5]} <em>{SENTENCES[3]}</em></p>" for n in range(20)
    )
    (shelf / "page.html").write_text(
        f"<!doctype html><html lang=en><head><title>A page</title></head><body><nav>away</nav>{paragraphs}"
        "<p><a href=#p3>three</a> <img src=well.png></body></html>"
    )
    long = "\n\n".join(f"{n}. {SENTENCES[n % 5]}" for n in range(1500))
    (shelf / "tale.txt").write_text(
        f"A Tale\n======\n\nCHAPTER I\n\n{SENTENCES[0]}\n\nCHAPTER II\n\n{long}\n"
    )
    write_pdf(shelf / "sheet.pdf", [[f"{sentence} {page}" for sentence in SENTENCES] for page in range(6)])


WORSE = (
    '<script>window.__pwned = 1</script><script src="https://evil.example/x.js"/>'
    '<img src="x" onerror="window.__pwned = 1"/><img src="https://evil.example/p.png" alt="far"/>'
    '<img src="in.png" srcset="https://evil.example/q.png 2x" onload="window.__pwned = 1"/>'
    '<img src="data:image/svg+xml,&lt;svg onload=alert(1)&gt;"/><img src="page.png"/><img src="draws.svg"/><img src="bomb.png"/>'
    '<svg xmlns="http://www.w3.org/2000/svg" onload="window.__pwned = 1"><script>window.__pwned = 1</script>'
    '<a xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="javascript:window.__pwned = 1"><text>drawn</text></a></svg>'
    '<a id="js" href="javascript:window.__pwned=1">a</a><a href="data:text/html,x">b</a><a href="//evil.example/">c</a>'
    '<iframe src="https://evil.example/"></iframe><object data="https://evil.example/x"></object><embed src="https://evil.example/y"/>'
    '<link rel="stylesheet" href="https://evil.example/x.css"/><style>body { background: url(https://evil.example/b.png) }</style>'
    '<p style="background:url(https://evil.example/c.png)" onclick="window.__pwned = 1">styled</p>'
    '<form action="https://evil.example/"><input autofocus="" onfocus="window.__pwned = 1" name="q"/></form>'
    '<video src="https://evil.example/v.mp4" autoplay=""/><audio src="https://evil.example/a.mp3" autoplay=""/>'
    '<math xmlns="http://www.w3.org/1998/Math/MathML"><mtext><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;"/></mglyph></mtext></math>'
    '<table><tr><td background="https://evil.example/t.png">cell</td></tr></table>'
    '<p id="passage">not the passage</p><p id="main">nor main</p><p id="h1">nor a hit</p><details ontoggle="window.__pwned=1" open=""><p>d</p></details>'
)


def put_hostile_books(library: Path) -> None:
    """Books that try to act, to load, and to pass for the page around them."""
    shelf = library / "worse"
    shelf.mkdir(parents=True, exist_ok=True)
    head = '<meta http-equiv="refresh" content="0;url=https://evil.example/"/><base href="https://evil.example/"/>'
    page = xhtml(f"<h1>Worse</h1><p>The hostile passage about quinces.</p>{WORSE}", head=head)
    bomb = bytearray(png(8, 8))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    draws = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" onload="window.__pwned=1">'
        b'<script>window.__pwned=1</script><image href="https://evil.example/s.png"/><foreignObject><body '
        b'xmlns="http://www.w3.org/1999/xhtml"><script>window.__pwned=1</script></body></foreignObject></svg>'
    )
    write_epub(
        shelf / "worse.epub",
        {"c.xhtml": page},
        package=opf(
            ["c.xhtml"],
            manifest='<item id="p" href="page.png" media-type="image/png" properties="cover-image"/>',
        ),
        extra={
            "OEBPS/in.png": png(),
            "OEBPS/page.png": b"<html><script>window.__pwned = 1</script></html>",
            "OEBPS/draws.svg": draws,
            "OEBPS/bomb.png": bytes(bomb),
        },
    )
    (shelf / "worse.html").write_text(
        f"<html><head>{head}</head><body onload='window.__pwned=1'><p>Quinces.</p>{WORSE}<plaintext><script>window.__pwned=1</script>"
    )
    (shelf / "worse.md").write_text(
        f"# Worse\n\nQuinces again. [x](javascript:window.__pwned=1) ![y](https://evil.example/y.png)\n\n{WORSE}\n\n"
        "[up](../../../etc/passwd) ![up](../../../../etc/hostname.png)\n"
    )
