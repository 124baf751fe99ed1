"""`crem evaluate --judge` against a chat server: the six benchmarks have a mean, and nothing is asked twice."""

from typing import Any

import pytest

from data_prep.scene_questions import LETTERS
from data_prep.toy_benchmarks import benchmark_tables
from eval.results import read_result
from eval.vlm_result import VlmResult
from jobs.evaluate import TRAINED
from jobs.stage import Context
from jobs.summary import answer_lines
from pipeline.errors import DataError
from tests.chat_server import Reply, chat_server, completion
from tests.eval.fakes import png
from tests.eval.test_tsv import coded, write
from tests.jobs.test_evaluate import Models, context, evaluate, models  # noqa: F401

ROWS = 4
KINDS = ("colour", "shape", "position", "count")


@pytest.fixture
def six(context: Context) -> Context:  # noqa: F811
    """A small file of each benchmark; of MM-Vet's questions each has words of its own."""
    options = dict(zip(LETTERS, ("red", "blue", "green", "grey"), strict=True))
    choices = [
        {"index": str(number), "question": f"What is {number}?", **options, "answer": "A", "category": kind}
        | {"image": coded(png((number, 9, 9)))}
        for number, kind in enumerate(KINDS)
    ]
    for name, rows in benchmark_tables(choices).items():
        write(context.data / "mcq" / f"{name}.tsv", [list(row.values()) for row in rows], tuple(rows[0]))
    columns = ("index", "question", "answer", "category", "l2-category", "image")
    said = [[f"VD_a_1_{number}_{number}_1", "Is it?", "Yes", "VD", "VD_a", coded(png((number, 8, 9)))] for number in range(2)]
    write(context.data / "mcq" / "HallusionBench_small.tsv", said, columns)
    (context.data / "mcq" / "Birds.tsv").unlink()
    return context


def free_questions(bodies: list[dict[str, Any]]) -> list[str]:
    """Which of MM-Vet's questions a judge was asked about, in order."""
    named = [f"What is {number}?" for number in range(ROWS)]
    return [question for body in bodies for question in named if f"{question} |" in str(body)]


def test_a_judged_evaluation_has_the_mean_of_six_and_asks_once(six: Context, models: Models) -> None:  # noqa: F811
    refuses = [True]

    def reply(number: int, body: dict[str, Any]) -> Reply:
        """Half of what is asked; nothing about one question at first."""
        if "What is 2? |" in str(body) and refuses:
            return Reply(b'{"error": "too long"}', status=400)
        return completion("0.5")

    with chat_server(reply) as server:
        judge = {"only": ("questions",), "judge": "model-x", "judge_urls": (server.url,)}
        with pytest.raises(DataError, match="MMVet"):
            evaluate(six, **judge)
        assert "without MMVet" in answer_lines(six.evaluation)
        before = free_questions(server.requests)
        refuses.clear()
        others = [f"What is {number}?" for number in (0, 1, 3)]
        assert sorted(before) == sorted([*others, *["What is 2?"] * 3]), "replies are kept; what has none is asked in each mode"
        evaluate(six, **judge)
        after, asked = free_questions(server.requests), models.asked
        assert after[len(before) :] == ["What is 2?"], "the one that is missing, for all modes"
        for mode in ("native", "compressed", "swapped"):
            result = read_result(VlmResult, six.evaluation / TRAINED / f"ToyMMVet-{mode}.json")
            assert result.headline.score is not None and (result.headline.score.value, result.headline.score.count) == (0.5, ROWS)
            assert str(result.provenance.settings["judge"]).startswith("model-x, ") and server.url not in str(result)
        lines = answer_lines(six.evaluation).splitlines()
        assert [line.partition(", AVG")[0] for line in lines[:2]] == [
            f"{mode} answers: mean of the six benchmarks" for mode in ("native", "compressed")
        ]
        (six.evaluation / TRAINED / "ToyMMVet-native.json").unlink()
        (six.evaluation / "manifest.json").unlink()
        evaluate(six, **judge)
        assert free_questions(server.requests) == after and models.asked == asked, "neither judge nor model is asked again"
    assert (six.evaluation / TRAINED / "ToyMMVet-native.json").is_file()
