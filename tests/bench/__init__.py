"""Benchmarks: ratios to the raw engine, in the same run. They assert nothing about time.

`make bench` runs all of them; `python -m tests.bench NAME …` some.
"""
