"""Chat templates: a conversation as the text that a model was taught to go on with.

A template comes with the model's file and is a program: it is run in jinja2's
sandbox, which keeps it from everything but the conversation. Knows no tokens
and no engine.

Its hard rule: a template that does not end, or that fills the memory, costs
this process and no other. So it is only ever run in a worker, never where the
library is, and `bounded` ends the worker in the end.
"""

import contextlib
import datetime as dt
import faulthandler
import json
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE_CHARACTERS = 2**18
MAX_TEXT_CHARACTERS = 2**25
LIMIT_S = 20
LIMIT_BYTES = 512 * 2**20
# For a model whose file brings none; what most were taught since.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_one_at_a_time = threading.Lock()


class TemplateRefused(Exception):
    """A conversation that the template will not take, or a template that is none; str() says why."""


class ChatTemplate:
    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        """`bos` and `eos` are the names of the model's opening and closing token. Raises TemplateRefused."""
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise TemplateRefused(f"the chat template has {len(source):,} characters")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # the text goes to a model, and to no browser
            extensions=["jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _now
        self._named = {"bos_token": bos, "eos_token": eos}
        with bounded():
            try:
                self._template = environment.from_string(source or CHATML)
            except (TemplateError, RecursionError, MemoryError, ValueError, SyntaxError) as error:
                raise TemplateRefused(f"the chat template cannot be read: {_said(error)}") from error

    def text(self, messages: list[dict[str, Any]], more: dict[str, Any] | None = None) -> str:
        """The conversation, with the opening of an answer. `more` are variables of this model's own template."""
        given = {**(more or {}), **self._named, "messages": messages, "add_generation_prompt": True}
        with bounded():
            try:
                written = list(_limited(self._template.generate(given)))
            except TemplateRefused:
                raise
            except Exception as error:  # whatever a program may raise
                raise TemplateRefused(f"the chat template does not take them: {_said(error)}") from error
        return "".join(written)


def _limited(pieces: Iterator[str]) -> Iterator[str]:
    left = MAX_TEXT_CHARACTERS
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise TemplateRefused(f"the chat template writes more than {MAX_TEXT_CHARACTERS:,} characters")
        yield piece


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Memory for what runs inside: so much more than there is now. Time: then the process ends.

    Not by an exception: a template can be inside one operation of the interpreter's
    (`10 ** 10 ** 9`) that no exception interrupts. The watch is a thread without
    an interpreter.
    """
    with _one_at_a_time:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        taken = _address_space()
        if taken:
            room = taken + LIMIT_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (room if hard < 0 else min(room, hard), hard))
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """In bytes; 0 where the machine does not tell, and then memory is not limited."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    """As JSON, and not as jinja2's own, which escapes it for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(says: object) -> NoReturn:
    raise TemplateRefused(str(says)[:300])


def _now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:300]
