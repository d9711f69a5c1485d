"""The demo: simulated runs through everything real, and a receipt that says nothing was lost."""

from execstream.workload.demo.performance import ENDING, Demo
from execstream.workload.demo.receipt import Receipt

__all__ = ["ENDING", "Demo", "Receipt"]
