"""almanac search"""

import argparse
import html
import json
import re

from appliance import client


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="words, or a question")
    parser.add_argument("--shelf", help="search one shelf only")
    parser.add_argument("--limit", type=int, default=10, help="how many passages (default 10, at most 100)")
    parser.add_argument("--cursor", help="where the last search said to go on")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 also when nothing is found."""
    asked = client.client_for(given)
    found = asked.get("/api/search", q=given.query, shelf=given.shelf, limit=given.limit, cursor=given.cursor)
    if given.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for notice in found["degraded"]:
        print(f"notice: {notice}")
    for n, hit in enumerate(found["items"], start=1):
        passage = hit["passage"]
        page = f", page {passage['page']}" if passage["page"] else ""
        print(f"{n:3}. {' › '.join(passage['heading_path'])}  ({hit['document']['path']}{page})")
        print(f"     {plain(passage['snippet'])}")
        print(f"     {asked.url}{passage['href']}")
    print(f"{found['total']} passages in {found['took_ms']:.0f} ms" if found["items"] else "Nothing found.")
    return 0


def plain(snippet: str) -> str:
    """A snippet without its markup, on one line."""
    return " ".join(html.unescape(re.sub(r"</?mark>", "", snippet)).split())
