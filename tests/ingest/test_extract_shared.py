"""What becomes of the published books and documents, and of the hostile ones, file by file."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.places import ROOT, shared_data

READ = ""
# file → words that the reason must contain, or nothing where the content is sound and must be read
HOSTILE = {
    "absolute-path-entry": READ,
    "backslash-traversal-entry": READ,
    "billion-laughs-opf": READ,
    "corrupt-deflate-or-crc": "damaged",
    "deep-nesting-100k": "nested",
    "drm-adept-marker": "locked by Adobe",
    "drm-lcp-marker": "locked by Readium LCP",
    "empty-spine": "lists no chapters",
    "empty-zero-bytes": "empty",
    "manifest-href-file-url": "outside its archive",
    "manifest-href-traversal": "outside its archive",
    "no-container": READ,
    "no-mimetype": READ,
    "ok-control": READ,
    "path-traversal-entry": READ,
    "plain-text-named": "named like an EPUB",
    "script-injection": READ,
    "spine-20000-items-same-file": READ,
    "spine-missing-files": READ,
    "symlink-entry": "links are never followed",
    "tag-soup-not-xml": READ,
    "truncated": "damaged",
    "utf16-chapter": READ,
    "windows-1252-chapter": READ,
    "xxe-chapter": READ,
    "xxe-opf": READ,
    "zip-in-zip": READ,
    "zipbomb-300MB-chapter": "unpacks to 300 MiB",
}
# Valid, and without a word in it: pictures, sound or film alone.
WITHOUT_TEXT = {
    "epub3__03-resources__fallback-chain-n-to-1-valid",
    "epub3__03-resources__fallback-chain-waterfall-valid",
    "epub3__03-resources__foreign-xhtml-audio-source-remote-fallback-valid",
    "epub3__03-resources__foreign-xhtml-video-poster-fallback-valid",
    "epub3__03-resources__resources-remote-audio-sources-valid",
    "epub3__03-resources__resources-remote-audio-valid",
    "epub3__03-resources__resources-remote-video-valid",
}
PICTURES = "only pictures of pages"
PDFS = {
    "001-trivial/minimal-document": READ,
    "002-trivial-libre-office-writer/002-trivial-libre-office-writer": READ,
    "003-pdflatex-image/pdflatex-image": READ,
    "004-pdflatex-4-pages/pdflatex-4-pages": READ,
    "005-libreoffice-writer-password/libreoffice-writer-password": "locked with a password",
    "006-pdflatex-outline/pdflatex-outline": READ,
    "007-imagemagick-images/imagemagick-ASCII85Decode": PICTURES,
    "007-imagemagick-images/imagemagick-CCITTFaxDecode": PICTURES,
    "007-imagemagick-images/imagemagick-images": READ,
    "007-imagemagick-images/imagemagick-lzw": PICTURES,
    "008-reportlab-inline-image/inline-image": READ,
    "009-pdflatex-geotopo/GeoTopo-komprimiert": READ,
    "010-pdflatex-forms/pdflatex-forms": READ,
    "011-google-doc-document/google-doc-document": READ,
    "012-libreoffice-form/libreoffice-form": READ,
    "013-reportlab-overlay/reportlab-overlay": READ,
    "014-outlines/mistitled_outlines_example": READ,
    "015-arabic/habibi-oneline-cmap": READ,
    "015-arabic/habibi-rotated": READ,
    "015-arabic/habibi": READ,
    "016-libre-office-link/libre-office-link": READ,
    "017-unreadable-meta-data/unreadablemetadata": "damaged",
    "018-base64-image/base64image": READ,
    "019-grayscale-image/grayscale-image": PICTURES,
    "020-xmp/output_with_metadata_pymupdf": READ,
    "021-pdfa/crazyones-pdfa": READ,
    "022-pdfkit/pdfkit": READ,
    "023-cmyk-image/cmyk-image": PICTURES,
    "024-annotations/annotated_pdf": READ,
    "025-attachment/with-attachment": READ,
    "026-latex-multicolumn/multicolumn": READ,
}
# What a worker does, in a child: a crash, a hang or hunger for memory ends there and is seen here.
CHILD = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from ingest.extract import extract
from library.errors import UnreadableFile
for name in sys.stdin.read().split("\\n"):
    try:
        found = extract(Path(name))
        said = {"text": "\\n".join(section.text for section in found.sections)[:2000]}
    except UnreadableFile as error:
        said = {"reason": str(error)}
    print(json.dumps({"name": name, **said}), flush=True)
"""


class Outcome(msgspec.Struct):
    name: str
    text: str = ""
    reason: str = ""


def outcomes(paths: list[Path]) -> dict[Path, Outcome]:
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        check=False,
    )
    found = [msgspec.json.decode(line, type=Outcome) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"after {found[-1].name if found else 'nothing'}: {child.stderr[-500:]}"
    return {Path(outcome.name): outcome for outcome in found}


def differences(folder: Path, suffix: str, expected: dict[str, str]) -> list[str]:
    found = outcomes([folder / f"{name}{suffix}" for name in expected])
    wrong: list[str] = []
    for name, words in expected.items():
        outcome = found[folder / f"{name}{suffix}"]
        as_expected = bool(outcome.text) if words == READ else words in outcome.reason
        if not as_expected or (outcome.reason and not outcome.reason.endswith(".")):
            wrong.append(f"{name}: {outcome.reason or 'read'}")
    return wrong


def test_each_hostile_book_is_read_safely_or_refused_for_what_is_wrong_with_it() -> None:
    folder = shared_data("epub/hostile")
    assert {path.stem for path in folder.glob("*.epub")} == HOSTILE.keys()
    assert differences(folder, ".epub", HOSTILE) == []


def test_what_a_hostile_book_says_is_text_and_nothing_of_this_machine() -> None:
    folder = shared_data("epub/hostile")
    names = [path for path in folder.glob("*.epub") if HOSTILE.get(path.stem) == READ]
    found = {path.stem: outcome.text for path, outcome in outcomes(names).items()}
    assert not [name for name, text in found.items() if "root:" in text or "/bin/" in text]
    assert "ignore all previous instructions" in found["script-injection"]
    assert "alert(" not in found["script-injection"]
    assert found["windows-1252-chapter"] == "café “quoted” — naïve"
    assert found["utf16-chapter"] == "UTF-16 水を沸騰"


@pytest.mark.parametrize("set_", ["epubcheck-fixtures", "minimal", "epub3-samples", "w3c-epub-tests"])
def test_every_valid_book_is_read_and_one_without_words_by_its_title(set_: str) -> None:
    paths = sorted(shared_data(f"epub/{set_}").rglob("*.epub"))
    found = outcomes(paths)
    assert len(found) == len(paths)
    valid = [path for path in paths if set_ in {"minimal", "epub3-samples"} or path.stem.endswith("-valid")]
    refused = {path.stem for path in valid if found[path].reason}
    assert refused == set()
    by_title = {path.stem for path in valid if "no text of its own" in found[path].text}
    assert by_title == WITHOUT_TEXT & {path.stem for path in valid}


def test_each_published_pdf_is_read_or_refused_for_what_is_wrong_with_it() -> None:
    folder = shared_data("pdf")
    assert {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.pdf")} == PDFS.keys()
    assert differences(folder, ".pdf", PDFS) == []
