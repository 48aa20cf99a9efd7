"""Recorded: what clients were sent, held against what it ought to be once they have gone.

Two things are looked at: OpenAI's own description of every answer and event,
and what each request was promised.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.exchanges import exchanges
from tests.clients.promises import assert_promises
from tests.clients.relay import Relay, relay_to
from tests.clients.shapes import assert_shapes
from tests.running import Appliance
from tests.web.openai_spec import is_at_hand


def assert_as_promised(relay: Relay) -> None:
    """Everything that the clients of a relay were sent, once they have gone."""
    relay.settle()
    found = exchanges(relay.conversations)
    assert found, "nothing went through the relay"
    assert_promises(found)
    # Where the description is not at hand, the tests of the shapes themselves skip and say so (test_the_relay.py).
    if is_at_hand():
        assert_shapes(found)


@contextmanager
def recorded(house: Appliance, socket_folder: Path) -> Iterator[tuple[Relay, Path]]:
    """A relay before a house for clients in a network of their own, and the socket at which they find it."""
    file = socket_folder / "outside.sock"
    with relay_to(house.url) as relay:
        relay.listen_on_file(file)
        try:
            yield relay, file
        finally:
            file.unlink()
        assert_as_promised(relay)
