"""Floor 2, answers: question → prompt → cited answer; the model workers and who keeps them alive."""

import sys

# httpx would load its own command line with click, rich and pygments: 6 MB and
# 40 ms that a server has no use for. It is written to do without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
