"""The fields of the lexical index: what of a chunk goes where.

Knows tantivy's schema and an IndexedChunk; asks nothing. Its hard rule:
whatever a query may compare is folded here and nowhere else, with the same
words as `search.lexical_query` asks for.
"""

from collections.abc import Sequence

import msgspec
import tantivy

from library.values import IndexedChunk
from search.analysis import ANALYSER, SURFACE, family, folded, for_index

# Changes whenever the fields or the analysis do. An index of another version is built anew, beside the old one.
VERSION = f"{ANALYSER}-fields_1"


_LOW = (1 << 64) - 1


class Name(msgspec.Struct, frozen=True, array_like=True):
    """What a chunk that begins a document or a section can be suggested by."""

    document_id: str
    title: str = ""  # of the document; only where it begins
    authors: tuple[str, ...] = ()  # only where it begins
    heading: str = ""  # of a section below the title; only where that begins


def schema() -> tantivy.Schema:
    """Text in the language's terms; names and labels as they are, folded."""
    return (
        tantivy.SchemaBuilder()
        .add_text_field("id", tokenizer_name="raw", index_option="basic")
        # The same id, a UUID, in two columns: read for hundreds of hits in a tenth of a stored field's time.
        .add_unsigned_field("id_high", fast=True)
        .add_unsigned_field("id_low", fast=True)
        .add_text_field("document", tokenizer_name="raw", index_option="basic")
        .add_text_field("family", tokenizer_name="raw", index_option="basic")
        .add_text_field("text", tokenizer_name=ANALYSER, index_option="position")
        .add_text_field("headings", tokenizer_name=ANALYSER, index_option="position")
        .add_text_field("title", tokenizer_name=ANALYSER, index_option="position")
        .add_text_field("authors", tokenizer_name=SURFACE, index_option="position")
        # Every word of the four as it stands: the vocabulary, and what prefixes are looked up in.
        .add_text_field("words", tokenizer_name=SURFACE, index_option="basic")
        .add_text_field("shelf", tokenizer_name="raw", index_option="basic")
        .add_text_field("author", tokenizer_name="raw", index_option="basic")
        .add_text_field("language", tokenizer_name="raw", index_option="basic")
        .add_text_field("format", tokenizer_name="raw", index_option="basic")
        .add_text_field("subject", tokenizer_name="raw", index_option="basic")
        .add_integer_field("year", indexed=True)
        # Only of the chunk with which a document or a section begins; see search.suggestions.
        .add_text_field("begins", tokenizer_name="raw", index_option="basic")
        .add_text_field("title_words", tokenizer_name=SURFACE, index_option="basic")
        .add_text_field("author_words", tokenizer_name=SURFACE, index_option="basic")
        .add_text_field("heading_words", tokenizer_name=SURFACE, index_option="basic")
        .add_bytes_field("name", stored=True)
        .build()
    )


def fields_of(chunk: IndexedChunk, *, begins_section: bool) -> tantivy.Document:
    """A chunk as the index takes it. `begins_section`: the chunk before it stands under another heading."""
    labels = chunk.labels
    document = tantivy.Document()
    number = int(chunk.id.replace("-", ""), 16)
    document.add_text("id", chunk.id)
    document.add_unsigned("id_high", number >> 64)
    document.add_unsigned("id_low", number & _LOW)
    document.add_text("document", chunk.document_id)
    document.add_text("family", family(labels.language))
    # The path begins with the title, and stands in front of the text: see docs/experiments.md.
    headings = chunk.heading_path
    for text in (*headings, chunk.text):
        _add(document, "text", text, labels.language)
        document.add_text("words", text)
    if headings and labels.title and headings[0] == labels.title:
        headings = headings[1:]
    else:
        document.add_text("words", labels.title)
    for heading in headings:
        _add(document, "headings", heading, labels.language)
    _add(document, "title", labels.title, labels.language)
    for author in labels.authors:
        document.add_text("authors", author)
        document.add_text("words", author)
        document.add_text("author", folded(author))
    document.add_text("shelf", folded(labels.shelf or ""))
    document.add_text("format", labels.format)
    for subject in labels.subjects:
        document.add_text("subject", folded(subject))
    for language in _ever_wider(labels.language or ""):
        document.add_text("language", language)
    if labels.year is not None:
        document.add_integer("year", labels.year)
    if begins_section:
        _add_name(document, chunk, headings[-1] if headings else "")
    return document


def ids(searcher: tantivy.Searcher, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
    """The ids of the chunks at these addresses, in the same order."""
    addresses = list(addresses)
    highs = searcher.fast_field_values("id_high", addresses)
    lows = searcher.fast_field_values("id_low", addresses)
    return [_written(int(high or 0), int(low or 0)) for high, low in zip(highs, lows, strict=True)]


def _written(high: int, low: int) -> str:
    digits = f"{high:016x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _add(document: tantivy.Document, field: str, text: str, language: str | None) -> None:
    analysed = for_index(text, language)
    if isinstance(analysed, str):
        document.add_text(field, analysed)
    else:
        document.add_pre_tokenized_text(field, analysed)


def _add_name(document: tantivy.Document, chunk: IndexedChunk, heading: str) -> None:
    name = Name(chunk.document_id, heading=heading)
    if heading:
        document.add_text("heading_words", heading)
    if chunk.ordinal == 0:
        name = Name(chunk.document_id, chunk.labels.title, chunk.labels.authors, heading)
        document.add_text("begins", "document")
        document.add_text("title_words", chunk.labels.title)
        for author in chunk.labels.authors:
            document.add_text("author_words", author)
    document.add_bytes("name", msgspec.msgpack.encode(name))


def _ever_wider(language: str) -> list[str]:
    """As "zh-hant-tw", "zh-hant", "zh": whoever asks for the wider one gets the narrower, too."""
    parts = language.split("-")
    return ["-".join(parts[:length]) for length in range(len(parts), 0, -1) if language]
