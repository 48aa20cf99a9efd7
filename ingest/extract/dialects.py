"""Dialects: the Markdown parser, with what notes and manuals write beyond CommonMark.

Tables, footnotes, definition lists, admonitions in three notations, wiki links
and mathematics; each becomes words, so that a reader finds what the page would
have shown. Two rules of our own stand before the parser's: a paragraph and a
line without any mark are taken as they are, because most of a book is that.
Knows nothing of files or sections. Its hard rule: no text costs more than time
in proportion to its length, whatever its marks.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

from lxml.html import defs
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from ingest.limits import Limits

_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9-]*)")
# What is not HTML is something a person wrote, like `git clone <repository>`.
_HTML_TAGS = defs.tags | frozenset(
    ["bdi", "data", "dialog", "main", "picture", "rb", "rtc", "ruby", "slot", "template"]
)
_MARK = re.compile(r"[\\`*_~\[\]<&$]| {2}\n")  # without one of these, a text is what it says
_HARD_BREAK = re.compile(r"(?: {2}|\\|<br ?/?>)\n")
_BRACKET = re.compile(r"[\[\]]")
_MAX_BRACKETS = 60  # inside each other; beyond it the parser looks through the text again for each
_WIKI = re.compile(r"!?\[\[([^\[\]|\n]{1,300}?)(?:\\?\|([^\[\]\n]{1,300}))?\]\]")
_PICTURE_SIZE = re.compile(r"\d+(?:x\d+)?")
_PICTURE = re.compile(r".*\.(?:png|jpe?g|gif|svg|webp|bmp|avif)", re.IGNORECASE)
_ALERT = re.compile(r"\[!(\w{1,30})\][+-]?[ \t]*([^\n]*)(?:\n|$)")
_DIRECTIVE = re.compile(
    r"\s*\{?\s*(?P<kind>[A-Za-z][\w-]{0,30})\}?\s*(?:\[(?P<boxed>[^\]]*)\]|(?P<title>.*))"
)


@functools.lru_cache(maxsize=4)
def parser(limits: Limits) -> MarkdownIt:
    # Raised from commonmark's 20, above which it drops text without a word.
    found = MarkdownIt("commonmark", {"maxNesting": limits.max_markdown_nesting})
    found.enable(["table", "strikethrough"])
    found.use(front_matter_plugin).use(deflist_plugin).use(admon_plugin)
    # Notes stay where they were written: at the end they would be cited under the last heading.
    found.use(footnote_plugin, move_to_end=False, inline=False)
    found.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    found.use(container_plugin, "directive", validate=_is_directive, render=_directive)
    found.block.ruler.before("table", "plain_paragraph", _plain_paragraph)
    found.inline.ruler.before("link", "wiki_link", _wiki_link)
    found.core.ruler.at("inline", _inline)
    for name, rule in (
        ("html_inline", _raw_tag),
        ("footnote_ref", _note_reference),
        ("footnote_reference_open", _note_opening),
        ("footnote_reference_close", lambda *_: "</div>"),
        ("math_inline", _as_written("$", "$")),
        ("math_inline_double", _as_written("$$", "$$")),
        ("math_block", _as_written("<pre>$$", "$$</pre>")),
        ("math_block_label", _as_written("<pre>$$", "$$</pre>")),
    ):
        found.add_render_rule(name, rule)
    return found


def _plain_paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A paragraph whose every line begins with a letter can be nothing else: a dozen rules need not be asked."""
    if silent:
        return False
    line = start
    while line < end:
        first = state.bMarks[line] + state.tShift[line]
        if first >= state.eMarks[line]:
            break
        if not 0 <= state.sCount[line] - state.blkIndent <= 3 or not state.src[first].isalpha():
            return False
        line += 1
    following = line
    while following < end and state.isEmpty(following):
        following += 1
    if following < end and state.src[state.bMarks[following] + state.tShift[following]] in ":~":
        return False  # the term of a definition list
    state.line = line
    state.push("paragraph_open", "p", 1).map = [start, line]
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(start, line, state.blkIndent, False).strip()
    inline.map, inline.children = [start, line], []
    state.push("paragraph_close", "p", -1)
    return True


def _inline(state: StateCore) -> None:
    """The parser's own rule of this name, but what has no marks, or far too many, is text."""
    tokens = state.tokens
    for at, token in enumerate(tokens):
        if token.type != "inline":
            continue
        if at > 1 and tokens[at - 2].type == "blockquote_open":
            token.content = _ALERT.sub(_alert_title, token.content, count=1)
        if _HARD_BREAK.search(token.content) is None:
            token.content = token.content.replace("\n", " ")  # half of all pieces would be such line ends
        if _MARK.search(token.content) is None or _is_too_deep(token.content):
            token.children = [Token("text", "", 0, content=token.content)]
        else:
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _is_too_deep(text: str) -> bool:
    depth = 0
    if text.count("[") > _MAX_BRACKETS:
        for bracket in _BRACKET.findall(text):
            depth = max(0, depth + (1 if bracket == "[" else -1))
            if depth > _MAX_BRACKETS:
                return True
    return False


def _alert_title(match: re.Match[str]) -> str:
    r"""`> [!NOTE]` says "Note" on a line of its own."""
    if match.start():
        return match[0]
    return (match[2].strip() or match[1].capitalize()) + "\\\n"


def _wiki_link(state: StateInline, silent: bool) -> bool:
    """`[[Page]]` is the page's name, `[[Page|words]]` the words; a picture without words is nothing."""
    if not state.src.startswith(("[[", "![["), state.pos):
        return False
    match = _WIKI.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        page, words = match[1].strip().rstrip("\\"), (match[2] or "").strip()
        if _PICTURE.fullmatch(page):
            words = "" if _PICTURE_SIZE.fullmatch(words) else words
        else:
            words = words or page.lstrip("#").replace("#", " › ")
        state.pending += words
    state.pos = match.end()
    return True


def _is_directive(parameters: str, *_: Any) -> bool:
    return _DIRECTIVE.fullmatch(parameters) is not None


def _directive(_renderer: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """`:::note Title`, `:::note[Title]` and `:::{note} Title` begin with the title, else with the kind."""
    if tokens[at].nesting != 1:
        return "</aside>"
    match = _DIRECTIVE.fullmatch(tokens[at].info)
    title = "" if match is None else match["boxed"] or match["title"] or match["kind"].capitalize()
    return f"<aside><p>{escapeHtml(title)}</p>"


def _as_written(before: str, after: str) -> Any:
    return lambda _renderer, tokens, at, *_: before + escapeHtml(tokens[at].content) + after


def _raw_tag(_renderer: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    content: str = tokens[at].content
    tag = _TAG.match(content)
    return escapeHtml(content) if tag and tag[1].lower() not in _HTML_TAGS else content


def _note_reference(_renderer: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    return f"[{escapeHtml(tokens[at].meta['label'])}]"


def _note_opening(_renderer: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    if at + 3 < len(tokens) and tokens[at + 1].type == "paragraph_open":
        tokens[at + 1].hidden = tokens[at + 3].hidden = True  # its first paragraph on the line of its mark
    return f"<div>[{escapeHtml(tokens[at].meta['label'])}] "
