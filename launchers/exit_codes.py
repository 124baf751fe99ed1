"""Exit codes of `crem` that scripts may ask for; 1 is any mistake, 2 a wrong command line, 70 a hung rank.

The last is of `pipeline/train/fault_tolerance/watchdog.py`.
"""

from pipeline.train.fault_tolerance.signals import STOPPED

__all__ = ["INTERRUPTED", "STOPPED"]

INTERRUPTED = 130
"""After Ctrl-C, as shells have it; of a training, after the second."""
