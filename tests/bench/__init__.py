"""Benchmarks: ratios to the raw engine, in the same run. They assert nothing about time.

`make bench` runs all of them; `python -m tests.bench NAME …` some.
"""

import os

# The bare loops are as silent as the appliance; it must stand before the first import of the runtime.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
