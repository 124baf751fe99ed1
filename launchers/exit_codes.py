"""Exit codes of `crem` that scripts may ask for; 1 is any mistake, 2 a wrong command line, 70 a hung rank (`train.watch`)."""

INTERRUPTED = 130
"""After Ctrl-C, as shells have it; of a training, after the second."""

STOPPED = 75
"""A signal, or the first Ctrl-C, stopped the training after a checkpoint: start it again (EX_TEMPFAIL of sysexits.h)."""
