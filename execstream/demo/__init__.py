"""The demo: simulated runs through everything real, and a receipt that says nothing was lost."""

from execstream.demo.performance import Demo
from execstream.demo.receipt import Receipt

__all__ = ["Demo", "Receipt"]
