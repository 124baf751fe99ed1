"""What a finished run prints: the table, and commands that can be pasted."""

import shlex
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from eval import mmeb, retrieval_set
from eval.benchmarks.benchmark import Headline
from eval.metrics import Score
from eval.results import Provenance, write_result
from eval.vlm_result import VlmResult
from jobs.stage import Context
from jobs.summary import answer_lines, free_port, measured, result_table, token_table, tracking_command
from pipeline.tracking import default_uri
from tests.eval.run_report.measured_models import FILES
from tests.eval.run_report.measured_models import answers as made_answers
from tests.pipeline.corpus import small_recipe


def result(value: float) -> mmeb.MmebResult:
    groups = {
        name: Score(value=value, low=value - 0.05, high=value + 0.05, chance=0.02, count=3)
        for name in ("grounding", "overall", "vqa", "classification", "IND")
    }
    num_sets = dict.fromkeys(groups, 3)
    return mmeb.MmebResult(provenance=Provenance(model="m", data="d", settings={}), datasets=(), groups=groups, num_sets=num_sets)


def test_table_has_chance_untrained_trained_and_blank_in_a_fixed_order(tmp_path: Path) -> None:
    write_result(result(0.021), tmp_path / "untrained" / retrieval_set.RESULT_NAME)
    write_result(result(0.753), tmp_path / "trained" / retrieval_set.RESULT_NAME)
    write_result(result(0.034), tmp_path / "trained" / retrieval_set.BLANK_RESULT_NAME)
    write_result(result(0.612), tmp_path / "trained_4_tokens" / retrieval_set.RESULT_NAME)
    header, *rows, interval = result_table(tmp_path, (4,)).splitlines()
    assert header.split()[2:] == ["classification", "vqa", "grounding", "IND", "overall"]
    values = {row[:24].strip(): row[24:].split() for row in rows}
    assert values == {
        "chance": ["2.0"] * 5,
        "untrained": ["2.1"] * 5,
        "trained, 4 tokens": ["61.2"] * 5,
        "trained": ["75.3"] * 5,
        "trained, blank pictures": ["3.4"] * 5,
    }
    assert interval == "trained, overall: 95 % interval 70.3 to 80.3, 3 datasets"


def answers(value: float, mode: str) -> VlmResult:
    """A benchmark of which a share is right."""
    score = Score(value=value, low=value, high=value, chance=0.25, count=4)
    return VlmResult(
        name="Birds",
        benchmark="choices",
        mode=mode,
        provenance=Provenance(model="m", data="d", settings={}),
        headline=Headline(name="accuracy", score=score, of=4),
        table={},
        notes=(),
        conditions={},
        accuracy=None,
        categories={},
        unparsed=0,
        num_rows=4,
        md5="",
        skipped=(),
        hits=(),
        examples=(),
    )


def test_each_number_of_elastic_tokens_has_its_line_and_native_answers_need_none(tmp_path: Path) -> None:
    for place, value in (("trained_4_tokens", 0.5), ("trained", 0.75)):
        write_result(result(value), tmp_path / place / retrieval_set.RESULT_NAME)
        for name, share in (("A-compressed", value), ("B-compressed", value - 0.25), ("A-swapped", 0.25)):
            write_result(answers(share, name[2:]), tmp_path / place / f"{name}.json")
    write_result(answers(1.0, "native"), tmp_path / "trained" / "A-native.json")
    header, *rows = token_table(tmp_path, (4, 16)).splitlines()
    assert header.split()[-4:] == ["P@1", "answers", "swapped", "texts"]
    assert {row[:24].strip(): row[24:].split() for row in rows} == {
        "4 tokens": ["50.0", "37.5", "25.0", "-"],
        "16 tokens": ["75.0", "62.5", "25.0", "-"],
        "native": ["-", "100.0", "-", "-"],
    }
    assert token_table(tmp_path, ()) == "" and measured(tmp_path / "nothing") == {}


def test_answers_are_summed_up_by_the_six_and_what_the_tokens_keep(tmp_path: Path) -> None:
    assert answer_lines(tmp_path) == ""
    for mode, less in (("native", 0.0), ("compressed", 0.1)):
        for name in FILES:
            write_result(made_answers(0.5 - less, name, mode), tmp_path / "trained" / f"{name}-{mode}.json")
    native, compressed, left, kept = answer_lines(tmp_path).splitlines()
    assert native == "native answers: mean of the six benchmarks, AVG as in CREM's Table 2: 50.0"
    assert compressed.startswith("compressed answers: ") and compressed.endswith(": 40.0")
    assert left.startswith("from the tokens alone: 80 % of native answers") and "paper prints 83 %" in left
    assert "4.00 % of its context" in kept
    write_result(made_answers(None, "MMVet"), tmp_path / "trained" / "MMVet-native.json")
    native, compressed, left, _ = answer_lines(tmp_path).splitlines()
    assert "of 5; without MMVet, so not the papers' AVG" in native and left.startswith("from the tokens alone: 80 %")


def test_what_was_not_measured_is_a_dash_and_a_part_is_said_to_be_one(tmp_path: Path) -> None:
    assert result_table(tmp_path) == "P@1: not measured; crem evaluate --only retrieval measures it"
    write_result(replace(result(0.5), num_sets={"overall": 36}), tmp_path / "trained" / retrieval_set.RESULT_NAME)
    header, *rows, interval = result_table(tmp_path).splitlines()
    assert {row[:24].strip(): row[24:].split()[-1] for row in rows} == {
        "chance": "2.0",
        "untrained": "-",
        "trained": "50.0",
        "trained, blank pictures": "-",
    }
    assert interval.endswith("55.0, 3 of 36 datasets") and header


def test_tracking_command_names_the_whole_store_and_survives_a_paste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    work = tmp_path / "a folder with $pecial; names"
    context = Context(work=work, data=work, recipe=small_recipe(), tracking=default_uri(work))
    words = shlex.split(tracking_command(context))
    assert words[0] == "MLFLOW_DISABLE_TELEMETRY=true"
    assert Path(words[1]).is_file(), "the command is the one of this environment, by its full path"
    assert words[2:5] == ["ui", "--backend-store-uri", f"sqlite:///{work}/mlflow.db"]
    assert words[5] == "--port"


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("https://me:secret@host/mlflow", "open https://***@host/mlflow"),
        ("postgresql://me:secret@host/db", '--backend-store-uri "$MLFLOW_TRACKING_URI" --port'),
        ("offline", "crem sync --work "),
        ("postgresql://host/db", "--backend-store-uri postgresql://host/db --port"),
    ],
)
def test_tracking_command_shows_no_password(tmp_path: Path, store: str, shown: str) -> None:
    command = tracking_command(Context(work=tmp_path, data=tmp_path, recipe=small_recipe(), tracking=store))
    assert shown in command and "secret" not in command


def test_free_port_is_one_that_nobody_listens_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jobs.summary.FIRST_PORT", port)
            patch.setattr("jobs.summary.LAST_PORT", port)
            assert free_port() != port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))
