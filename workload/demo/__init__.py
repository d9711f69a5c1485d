"""The demo: simulated runs through the real pipeline, and a receipt that nothing was lost."""

from execstream.workload.demo.performance import ENDING, Demo
from execstream.workload.demo.receipt import Receipt

__all__ = ["ENDING", "Demo", "Receipt"]
