"""Tests. They mirror the floors; journeys, contracts, house rules, browser and benchmarks stand beside them."""
