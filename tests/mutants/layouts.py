"""Ways to break the layouts and targets of the methods beside CREM's."""

from tests.mutants.mutant import Mutant

_SEQUENCE, _TARGETS = "pipeline/sequence.py", "pipeline/targets.py"
LAYOUTS, TARGETS = ("tests/pipeline/test_layouts.py",), ("tests/pipeline/test_targets.py",)

MUTANTS = (
    Mutant(
        "a dialogue goes on in no turn of its own",
        _SEQUENCE,
        'opens = follows or self.layout.template == "turns"',
        "opens = follows",
        LAYOUTS,
    ),
    Mutant("a cue behind the tokens is lost", _SEQUENCE, "*cue, *end]", "*end]", LAYOUTS),
    Mutant(
        "a target with a user's turn",
        _SEQUENCE,
        'if self.layout.template == "target":',
        'if self.layout.template == "":',
        LAYOUTS,
    ),
    Mutant(
        "answers alone are scored, whatever the layout",
        _SEQUENCE,
        "np.isin(self.roles, self.scored)",
        "self.roles == Role.ANSWER",
        LAYOUTS,
    ),
    Mutant(
        "positions by count begin a token late",
        _SEQUENCE,
        "np.arange(behind, len(self))",
        "np.arange(behind, len(self)) + 1",
        LAYOUTS,
    ),
    Mutant(
        "a saved item goes on where M-RoPE says",
        _SEQUENCE,
        'return len(self) if self.continues == "count" else',
        'return len(self) if self.continues == "" else',
        LAYOUTS,
    ),
    Mutant("the layout's positions stay behind", _SEQUENCE, ", continues=layout.continues, ", ", ", LAYOUTS),
    Mutant(
        "a conversation's pictures are always instructed",
        _SEQUENCE,
        "if not layout.represent or not side.images",
        "if not side.images",
        LAYOUTS,
    ),
    Mutant(
        "the told side tells itself",
        _TARGETS,
        '(sample.positive, "positive") if side == "query"',
        '(sample.query, "positive") if side == "query"',
        TARGETS,
    ),
    Mutant("the wrong side is told", _TARGETS, 'not in (name, "both")', 'not in (side, "both")', TARGETS),
    Mutant("markers are told", _TARGETS, 'IMAGE_MARKER.sub(" ", other.text)', "other.text", TARGETS),
    Mutant("a silent dataset is waited for", _TARGETS, 'return self._told(dataset) != "none"', "return True", TARGETS),
    Mutant(
        "rows without an answer are not counted",
        "pipeline/train/dataloader/step_work.py",
        "row.asked and not row.num_scored and",
        "not row.asked and not row.num_scored and",
        TARGETS,
    ),
)
