"""Names and defaults that the command line shows; nothing heavy is imported here, so that help comes at once."""

ORDER = ("toy", "convert", "synthesize", "model", "measure", "train", "evaluate", "report")
"""The stages of the main job, in order."""

FOLDERS = {
    "toy": "toy",
    "convert": "shards",
    "synthesize": "qa",
    "model": "model",
    "measure": "lengths",
    "evaluate": "eval/main",
    "report": "report",
}
"""Folder of each stage, below the work folder; those of mining, judging and training are named like their stages."""

KINDS = ("retrieval", "questions", "reconstruction")
"""What stage `evaluate` measures."""

TEACHER = "Qwen/Qwen2.5-VL-7B-Instruct"
ANSWER_TOKENS = "256 for qa, 4096 for dialogue, 256 for caption, 256 for description"
"""Tokens that the teacher's answer may have where nothing is said; one that is longer is cut there, and left out."""
MAX_UNANSWERED = 0.01
"""Share of the sides with pictures that may stay without an answer to learn: more, and something is wrong with the teacher."""

JUDGE = "Qwen/Qwen3-VL-8B-Instruct"
MAX_UNJUDGED = 0.01
"""Share of the pairs that may stay without a verdict: more, and something is wrong with the judge."""

STEP_TIMEOUT = 1800.0
"""Seconds that a training step, a held-out evaluation or a checkpoint may take before the run counts as hung."""
