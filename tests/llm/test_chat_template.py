"""Chat templates: what real ones need, and what hostile ones do not get."""

import subprocess
import sys
import time

import pytest

from llm.model_files.chat_template import CHATML, MAX_TEMPLATE_CHARACTERS, ChatTemplate, TemplateRefused
from tests.places import ROOT

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<b>1 & 2</b>"}]
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def test_a_conversation_is_written_as_the_model_was_taught() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}\n"
        "    {% if m['role'] == 'system' %}\n        {% continue %}\n    {% endif %}\n"
        "{{ m['role'] }}={{ m | tojson }}{{ eos_token }}\n"
        "{% endfor %}\n{% if add_generation_prompt %}>{{ mood }}{% endif %}"
    )
    written = ChatTemplate(source, bos="<s>", eos="</s>").text(TALK, {"mood": "calm", "messages": "mine"})
    # Whole lines of statements leave no trace, and JSON is not escaped as for a page.
    assert written == '<s>user={"role": "user", "content": "<b>1 & 2</b>"}</s>\n>calm'


def test_a_model_without_a_template_is_spoken_to_in_chatml() -> None:
    assert ChatTemplate("").text(TALK[1:]) == (
        "<|im_start|>user\n<b>1 & 2</b><|im_end|>\n<|im_start|>assistant\n"
    )
    assert "im_start" in CHATML


def test_a_template_may_refuse_a_conversation_in_its_own_words() -> None:
    with pytest.raises(TemplateRefused, match="no system, please"):
        ChatTemplate("{{ raise_exception('no system, please') }}").text(TALK)
    assert len(ChatTemplate("{{ strftime_now('%Y') }}").text([])) == 4


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].__class__.__base__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% include '/etc/passwd' %}",
        "{% for i in range(999999999) %}x{% endfor %}",
        "{{ nothing.of.the.kind }}",
        "{{ 1 / 0 }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ 'x' | center(10 ** 12) }}",
        "{{ '%1000000000000d' % 1 }}",
        "{% set n = namespace(s='x' * 999) %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% if %}",
        "{{" * 2_000,
        "(" * 2_000 + "{{" + "(" * 2_000,
        "x" * (MAX_TEMPLATE_CHARACTERS + 1),
    ],
)
def test_a_hostile_template_is_refused_soon_and_harms_nobody(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateRefused):
        ChatTemplate(source).text(TALK)
    assert time.monotonic() - began < 9
    assert TALK[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("source", [ENDLESS, "{{ 10 ** (10 ** 10) }}"])
def test_a_template_that_does_not_end_ends_its_process(source: str) -> None:
    script = (
        "import sys\nfrom llm.model_files import chat_template\nchat_template.LIMIT_S = 1\n"
        "print('BEGUN', flush=True)\nchat_template.ChatTemplate(sys.argv[1]).text([])\nprint('DONE')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "BEGUN\n")


def test_what_was_limited_is_free_again_afterwards() -> None:
    with pytest.raises(TemplateRefused):
        ChatTemplate("{{ 'x' * 10 ** 12 }}").text([])
    assert len(bytes(2**30)) == 2**30
