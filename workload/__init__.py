"""Simulated load, the reference machine that checks it, and the demo."""

from pathlib import Path

EXAMPLE_GRAPHS = Path(__file__).with_name("graphs")
