"""What a synthesis may leave open, and what became of the sides that it read."""

from collections import Counter
from dataclasses import dataclass, field

MAX_UNANSWERED = 0.01
"""Share of the sides with pictures that may stay without an answer to learn: more, and something is wrong with the teacher."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the sides: `read` is the sum of `reconstructed`, `described`, `skipped` (no endpoint) and `rejected`.

    Of dialogues, sides without pictures are not read. `unmarked` of the described have an answer without finish_reason, which may
    have been cut short: nobody can tell. `asked` counts the answers that came in this run: equal sides are asked once, and
    answers of earlier runs are kept; `prompt_tokens` and `answer_tokens` are those of this run's, as servers count. `reasons` are
    the rejected by kind: a fault of the answer (qa_filters), a failed call (pipeline.chat), too few turns (qa_dialogue), or
    `void`, neither picture nor text. `lengths` are the described by their number of turns, `left_out` the listed questions that
    their dialogues are without, by kind.
    """

    read: int = 0
    reconstructed: int = 0
    described: int = 0
    unmarked: int = 0
    skipped: int = 0
    rejected: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def by_name(self) -> dict[str, int]:
        """The numbers by their names; `rejected_<kind>`, `turns_<n>` for n over 1, and `left_out_<kind>` where they occurred."""
        totals = ("read", "reconstructed", "described", "unmarked", "skipped", "rejected", "asked")
        numbers: dict[str, int] = {name: getattr(self, name) for name in totals}
        numbers |= {name: count for name in ("prompt_tokens", "answer_tokens") if (count := getattr(self, name))}
        numbers |= {f"rejected_{kind}": count for kind, count in sorted(self.reasons.items())}
        numbers |= {f"turns_{length}": count for length, count in sorted(self.lengths.items()) if length > 1}
        return numbers | {f"left_out_{kind}": count for kind, count in sorted(self.left_out.items())}


def listed(reasons: Counter[str]) -> str:
    """Numbers by kind, the largest first: "3 cut, 1 refusal"."""
    return ", ".join(f"{count} {kind}" for kind, count in reasons.most_common())
