"""Judges by script: what is asked, how often, at which temperature, and what a reply is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval import vlm
from eval.benchmarks.registry import BY_NAME
from eval.judges.judges import EndpointJudge, LocalJudge, judge_of
from eval.judges.scripts import TEMPERATURES, Unjudged, credit_in
from eval.measurement import Failures, ResultFolder, measure_missing
from eval.model_protocol import silent
from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.question_files import read_questions
from eval.results import read_result
from eval.verdicts import Rules
from eval.vlm_measurement import questions
from eval.vlm_result import VlmResult
from pipeline.chat import Answer, ChatRequest, Failed, Patience
from pipeline.errors import ConfigError
from tests.chat_server import Reply, chat_server, completion
from tests.eval.fakes import FakeModel, png
from tests.eval.test_tsv import coded, row, write

RULES = Rules(matcher=option_matcher(DEFAULT_MATCHER))
QUICK = Patience(timeout_seconds=5, tries=2, give_up_seconds=5, pause_factor=0.001)
FREE = ("index", "question", "answer", "category", "image")
PICTURE = coded(png((9, 9, 9)))


def play(path: Path, said: str, replies: Sequence[str | Failed], *, parity: bool = False) -> tuple[Any, list[ChatRequest]]:
    """The judgement of an answer to a file's first row by scripted replies, and the requests that were made."""
    table = read_questions(path, parity=parity)
    rules = Rules(matcher=RULES.matcher, parity=parity)
    benchmark = BY_NAME[table.benchmark]
    script = benchmark.judged(benchmark.verdict(table.rows[0], said, rules), rules, "judge")
    if script is None:
        return None, []
    asked = [next(script)]
    for reply in replies:
        try:
            asked.append(script.send(reply if isinstance(reply, Failed) else Answer(text=reply)))
        except StopIteration as end:
            return end.value, asked
    pytest.fail(f"asked on after {len(replies)} replies")


def choice_file(folder: Path, name: str = "MMStar_small") -> Path:
    return write(folder / f"{name}.tsv", [row("0", options=("red", "blue", "green"), answer="B")])


def free_file(folder: Path, answer: str = "4<AND>-2<OR>four") -> Path:
    return write(folder / "MMVet_small.tsv", [["0", "What is x?", answer, "math", PICTURE]], FREE)


def yes_file(folder: Path) -> Path:
    columns = ("index", "question", "answer", "category", "l2-category", "image")
    return write(folder / "HallusionBench_small.tsv", [["VD_a_1_1_1_1", "Is it?", "Yes", "VD", "VD_a", PICTURE]], columns)


def test_what_the_rules_can_read_is_put_to_nobody(tmp_path: Path) -> None:
    assert play(choice_file(tmp_path), "B", []) == (None, [])
    assert play(choice_file(tmp_path), "A", []) == (None, [])
    assert play(yes_file(tmp_path), "no, it is not", []) == (None, [])


@pytest.mark.parametrize("name", ["MMBench_small", "AI2D_small", "MMStar_small", "own"])
@pytest.mark.parametrize(
    ("replies", "parsed", "credit", "calls"),
    [
        (["B"], "B", 1, 1),
        (["A."], "A", 0, 1),
        (["Z"], "Z", 0, 1),  # none of them
        (["no letter", "The answer is B"], "B", 1, 2),
        (["no letter"] * 3, None, 0, 3),  # and no option is drawn at random
    ],
)
def test_a_choice(tmp_path: Path, name: str, replies: list[str], parsed: str | None, credit: float, calls: int) -> None:
    judged, asked = play(choice_file(tmp_path, name), "the sky's colour", replies)
    assert (judged.parsed, judged.credit, len(asked)) == (parsed, credit, calls)
    assert [request.sampling.temperature for request in asked] == [0.0] * calls
    assert len({request.key for request in asked}) == calls, "tries are kept one by one"
    assert asked[0].text.endswith("Question: question 0\nOptions: A. red B. blue C. green\nAnswer: the sky's colour\nReply: ")


def test_a_chinese_question_is_judged_in_chinese(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [["0", "什么颜色?", "红 {answer}", "蓝", "", "B", "", PICTURE]])
    _, (request,) = play(path, "天空的颜色", ["B"])
    assert request.text.endswith("问题: 什么颜色?\n选项: A. 红 {answer} B. 蓝\n回答: 天空的颜色\n回复: ")


@pytest.mark.parametrize(
    ("replies", "parsed", "credit"),
    [(["Yes"], "Yes", 1), (["No."], "No", 0), (["hm", "yes and no", "Yes"], "Yes", 1), (["Unknown"] * 5, None, 0)],
)
def test_yes_or_no(tmp_path: Path, replies: list[str], parsed: str | None, credit: float) -> None:
    judged, asked = play(yes_file(tmp_path), "**Yes**", replies)
    assert (judged.parsed, judged.credit) == (parsed, credit)
    assert TEMPERATURES == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert tuple(request.sampling.temperature for request in asked) == TEMPERATURES[: len(replies)]


@pytest.mark.parametrize(
    ("replies", "credit", "calls"),
    [
        (["0.5"], 0.5, 1),
        (["1"], 1.0, 1),
        (["nan", "0.3"], 0.3, 2),  # it would poison the mean
        (["1.5", "-0.1", "about 0.4", "", "0.4"], 0.4, 5),
        (["I cannot say"] * 5, 0.0, 5),
    ],
)
def test_a_score_of_mm_vet(tmp_path: Path, replies: list[str], credit: float, calls: int) -> None:
    judged, asked = play(free_file(tmp_path), "x is 4", replies)
    assert (judged.credit, len(asked)) == (credit, calls)
    assert [request.sampling.temperature for request in asked] == [0.0, 0.5, 1.0, 1.5, 2.0][:calls]
    assert asked[0].text.endswith("\n\nWhat is x? | 4 <AND> -2 <OR> four | x is 4 | ")
    table = asked[0].text.split("Correctness\n")[1].split("\n\n")[0].splitlines()[1:]
    assert len(table) == 7 and all(0 <= float(line.split("|")[-1]) <= 1 for line in table)


def test_a_right_yes_of_mm_vet_is_judged_too(tmp_path: Path) -> None:
    judged, asked = play(free_file(tmp_path, "yes"), "yes", ["1.0"])
    assert (judged.credit, len(asked)) == (1.0, 1)


def test_open_questions_of_mmmu_are_a_choice_of_two(tmp_path: Path) -> None:
    columns = ("index", "question", "A", "B", "answer", "split", "image")
    path = write(tmp_path / "MMMU_small.tsv", [["0", "How many?", "", "", "8", "validation", PICTURE]], columns)
    assert play(path, "There are 8.", []) == (None, []), "the rule found it"
    judged, asked = play(path, "as many as a spider has legs", ["A"])
    assert (judged.credit, asked[0].text.split("Options: ")[-1].splitlines()[0]) == (1.0, "A. 8 B. Other Answers")
    assert play(path, "some", ["B"])[0].credit == 0.0
    assert play(path, "some", ["A"], parity=True)[0].credit == 1.0


def test_a_judge_that_cannot_be_asked_leaves_no_verdict(tmp_path: Path) -> None:
    judged, _ = play(free_file(tmp_path), "x", [Failed("refused", "HTTP 400: too long")])
    assert judged == Unjudged("0", "HTTP 400: too long")


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "1e-1", "0.5 of 1", "", "-0.2", "1.01", "2", "0,5", "half", "0.5\n0.6"])
def test_what_is_no_bare_number_from_0_to_1(text: str) -> None:
    assert credit_in(text) is None


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), ("0.7", 0.7), (" 1.0 ", 1), (".5", 0.5), ("1.", 1)])
def test_bare_numbers(text: str, value: float) -> None:
    assert credit_in(text) == value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mcq").mkdir()
    rows = [[str(number), "What is x?", "4", "math,ocr", coded(png((number, 9, 9)))] for number in range(6)]
    write(tmp_path / "mcq" / "MMVet_small.tsv", rows, FREE)
    return tmp_path


def measured(folder: Path, judge: EndpointJudge | LocalJudge | None) -> tuple[VlmResult | None, Failures]:
    each = questions(folder / "mcq" / "MMVet_small.tsv", "native", folder / "out", judge=judge)
    failures, place = Failures(), ResultFolder(folder / "out")
    (folder / "out").mkdir(exist_ok=True)
    measure_missing(FakeModel(answer_one=lambda side, *_: f"x is {side.images[0][-20]}"), [each], place, failures, silent)
    return place.find(each, "fake"), failures


def half(number: int, body: dict[str, Any]) -> Reply:
    return completion("0.5")


def test_an_endpoint_judges_and_is_asked_each_thing_once(folder: Path) -> None:
    without, _ = measured(folder, None)
    assert without is not None and without.headline.score is None
    with chat_server(half) as server:
        judge = EndpointJudge("model-x", [server.url], QUICK)
        result, failures = measured(folder, judge)
        assert result is not None and result.headline.score is not None and not failures.failed
        assert (result.headline.score.value, result.headline.score.count, len(server.requests)) == (0.5, 6, 6)
        assert {body["temperature"] for body in server.requests} == {0.0}
        assert {body["model"] for body in server.requests} == {"model-x"}
        assert result.provenance.settings["judge"] == "model-x, words 1", "without its address"
        assert result.notes[-1] == "judge model-x, words 1: asked about 6 of 6 answers, 0 of them left unread"
        (folder / "out" / "MMVet_small-native.json").unlink()
        again, _ = measured(folder, judge)
        assert again == result and len(server.requests) == 6, "its replies are kept"


def test_a_server_that_fails_is_asked_again(folder: Path) -> None:
    with chat_server(lambda number, body: Reply(b"{}", status=500) if number == 0 else completion("1.0")) as server:
        result, failures = measured(folder, EndpointJudge("model-x", [server.url], QUICK))
        assert len(server.requests) == 7
    assert result is not None and result.headline.score is not None and not failures.failed
    assert result.headline.score.value == 1.0


def test_a_judge_that_refuses_an_answer_costs_the_score(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: set[str] = set()

    def refuses_the_first(number: int, body: dict[str, Any]) -> Reply:
        seen.add(str(body["messages"]))
        return Reply(b'{"error": "too long"}', status=400) if len(seen) == 1 else completion("1.0")

    with chat_server(refuses_the_first) as server:
        result, failures = measured(folder, EndpointJudge("model-x", [server.url], QUICK))
    assert result is None and failures.failed == ["out/MMVet_small-native"]
    (line,) = [line for line in caplog.messages if "gave no reply about 1 of" in line]
    assert "the same command asks for the missing ones" in line and "HTTP 400" in line


def test_the_command_names_a_judge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_said = folder / "theirs.jsonl"
    write_said.write_text("".join(f'{{"index": {number}, "prediction": "x is {number}"}}\n' for number in range(6)))
    words = ["--data", str(folder), "--data", "MMVet_small", "--predictions", str(write_said), "--out", str(folder / "scored")]
    with chat_server(half) as server:
        said = CliRunner().invoke(vlm.main, [*words, "--judge", "model-x", "--judge-url", server.url])
        assert said.exit_code == 0, said.output
        assert "overall: 50.0 (50.0-50.0), judged score, 6 rows" in said.output and server.url not in said.output
    assert read_result(VlmResult, folder / "scored" / "MMVet_small-native.json").table["only math_ocr"] == {
        "score": 0.5,
        "rows": 6.0,
    }
    for more, complaint in (
        (["--judge", "model-x"], "--judge model-x: neither exact nor a model folder; name the address"),
        (["--judge-url", "http://127.0.0.1:1/v1"], "--judge-url: name the model that is served there"),
        (["--judge", "model-x", "--judge-url", "nowhere"], "--url"),
    ):
        assert complaint in str(CliRunner().invoke(vlm.main, [*words, *more]).exception)


def test_no_judge_is_exact() -> None:
    assert judge_of("exact", []) is None
    with pytest.raises(ConfigError, match="neither exact nor a model folder"):
        judge_of("missing/folder", [])


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random language model with a tokenizer of bytes and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    out = tmp_path_factory.mktemp("text-model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: place for place, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
    fast.save_pretrained(out)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    }
    Qwen2ForCausalLM(Qwen2Config(vocab_size=256, **sizes)).save_pretrained(out)
    return out


def test_a_model_folder_judges_in_this_process(folder: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of(str(text_folder), [], device="cpu", dtype="float32")
    assert isinstance(judge, LocalJudge)
    assert judge.name.startswith(f"{text_folder.name} ") and judge.name.endswith(", words 1")
    monkeypatch.setattr("eval.judges.scripts._REPLY_TOKENS", 4)
    write(folder / "mcq" / "MMVet_small.tsv", [["0", "What is x?", "4", "math,ocr", PICTURE]], FREE)
    result, failures = measured(folder, judge)
    assert result is not None and result.headline.score is not None and not failures.failed
    (journal,) = (folder / "out").glob("judge-*.jsonl")
    num_asked = len(journal.read_text().splitlines())
    assert num_asked == 5, "a random model gives no number in any of its tries"
    monkeypatch.setattr("pipeline.model.text_model.TextModel.complete", None)
    (folder / "out" / "MMVet_small-native.json").unlink()
    assert measured(folder, LocalJudge(text_folder))[0] == result, "from its journal alone"


def test_a_text_model_says_the_same_again_and_other_things_when_it_is_warm(text_folder: Path) -> None:
    from pipeline.model.text_model import TextModel

    model = TextModel.load(text_folder)
    cold = [model.complete("How right?", max_tokens=8) for _ in range(2)]
    warm = [model.complete("How right?", max_tokens=8, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert cold[0] == cold[1] and warm[0] == warm[1] and warm[0] != warm[2]


def test_a_folder_without_a_language_model_is_refused(tmp_path: Path) -> None:
    from pipeline.errors import CheckpointError
    from pipeline.model.text_model import TextModel

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no language model that transformers can load"):
        TextModel.load(tmp_path)
