"""almanac search"""

import argparse
import html
import json
import re

from appliance import client

_FILTERS = {
    "shelf": "only on this shelf",
    "author": "only by this author",
    "lang": "only in this language, as in en or de",
    "type": "only of this format, as in epub or pdf",
    "tag": "only with this subject",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="words, or a question")
    for flag, words in _FILTERS.items():
        parser.add_argument(f"--{flag}", action="append", help=f"{words}; may be repeated, any one will do")
    parser.add_argument("--after", type=int, metavar="YEAR", help="documents of that year or later")
    parser.add_argument("--before", type=int, metavar="YEAR", help="documents of that year or earlier")
    parser.add_argument(
        "--sort", choices=("relevance", "date", "title"), help="the order (default relevance)"
    )
    parser.add_argument(
        "--mode", choices=("hybrid", "words", "meaning"), help="what to search by (default hybrid: both)"
    )
    parser.add_argument(
        "--group", action="store_true", help="one result a document, with its further passages"
    )
    parser.add_argument("--facets", action="store_true", help="count what the documents found are like")
    parser.add_argument("--limit", type=int, default=10, help="how many passages (default 10, at most 100)")
    parser.add_argument("--cursor", help="where the last search said to go on")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 also when nothing is found."""
    asked = client.client_for(given)
    found = asked.get(
        "/api/search",
        q=given.query,
        **{name: getattr(given, name) for name in (*_FILTERS, "after", "before", "sort", "mode")},
        group="document" if given.group else None,
        facets=1 if given.facets else None,
        limit=given.limit,
        cursor=given.cursor,
    )
    if given.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for notice in (*found["degraded"], *found["notices"]):
        print(f"notice: {notice}")
    if found["did_you_mean"]:
        print(f"Did you mean: {found['did_you_mean']}")
    for n, hit in enumerate(found["items"], start=1):
        passage = hit["passage"]
        page = f", page {passage['page']}" if passage["page"] else ""
        print(f"{n:3}. {' › '.join(passage['heading_path'])}  ({hit['document']['path']}{page})")
        print(f"     {plain(passage['snippet'])}")
        print(f"     {asked.url}{passage['href']}")
        for other in hit["others"]:
            print(f"     also: {plain(other['snippet'])}")
        if hit["others_total"] > len(hit["others"]):
            print(f"     and {hit['others_total'] - len(hit['others'])} more passages of it")
    for name, values in (found["facets"] or {}).items():
        listed = ", ".join(f"{one['value']} ({one['count']})" for one in values)
        if listed:
            print(f"{name}: {listed}")
    counted = "documents" if given.group else "passages"
    print(f"{found['total']} {counted} in {found['took_ms']:.0f} ms" if found["items"] else "Nothing found.")
    return 0


def plain(snippet: str) -> str:
    """A snippet without its markup, on one line."""
    return " ".join(html.unescape(re.sub(r"</?mark>", "", snippet)).split())
