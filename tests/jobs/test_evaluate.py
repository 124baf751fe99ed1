"""What the stage measures, what it finds again, and what one unusable file costs."""

import errno
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from eval.judges.wording import VERSION
from eval.lazy_model import LazyModel
from eval.measurement import ResultFolder
from eval.mmeb import MmebResult
from eval.results import read_result
from eval.vlm_measurement import Questions
from jobs.convert import ConvertStage
from jobs.embed_sets import embed_sets
from jobs.evaluate import TRAINED, Choice, EvaluateStage
from jobs.evaluated import Evaluated
from jobs.report import ReportStage
from jobs.runner import _input_state, run_stage
from jobs.stage import Context
from jobs.summary import result_table, token_table
from pipeline.data.keys import make_key
from pipeline.data.mmeb_eval import eval_datasets
from pipeline.data.shards import ShardIndex
from pipeline.encode.ranks import LONE
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.roles import Layout, Role
from pipeline.sample import Sample, Side
from pipeline.tracking import NullTracker
from pipeline.train import checkpoint
from tests.eval.fakes import FakeModel, keep_nothing, png, write_eval, write_pictures
from tests.eval.test_tsv import coded, row, write
from tests.shards import write_shards

USUAL = Encoding.usual
SETS = ("CIRR", "NIGHTS", "WebQA")
CAPTION = "a caption of some ten words that {} stands in no training text"


@dataclass
class Models:
    """Loads fakes in the place of real models and counts the sides that each embeds and the questions it is asked."""

    loaded: list[FakeModel] = field(default_factory=list)
    embed_one: Callable[[Side], np.ndarray] = FakeModel().embed_one

    def load(self, path: Path, **given: object) -> FakeModel:
        name = path.name if path.name.startswith("step-") else "untrained"
        name += f" of {given['tokens']}" if given.get("tokens") else ""
        self.loaded.append(FakeModel(fingerprint=f"fake {name}", embed_one=self.embed_one))
        return self.loaded[-1]

    @property
    def embedded(self) -> dict[str, int]:
        """Sides that were embedded, by model."""
        return {model.fingerprint: len(model.embedded) for model in self.loaded if model.embedded}

    @property
    def asked(self) -> int:
        """Questions of all models."""
        return sum(len(model.asked) for model in self.loaded)

    def forget(self) -> None:
        """Count from here."""
        self.loaded.clear()


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    counted = Models()
    keep_nothing(monkeypatch)
    # Notes that wait for a store are another test's: here they go to what each test reads.
    monkeypatch.setattr("pipeline.tracking.runs._kept", lambda *_: NullTracker())
    for name in ("merged.load_merged", "inference.load_untrained"):
        monkeypatch.setattr(f"pipeline.{name}", counted.load)
    return counted


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Three sets of two queries and a question file of three rows; a finished training of two checkpoints."""
    data, work = tmp_path / "data", tmp_path / "work"
    context = Context(work=work, data=data, recipe=load("tiny"), tracking="nowhere://")
    write_pictures(data, {f"{name}/{number}.png": png((number * 90, 7, 7)) for name in SETS for number in range(2)})
    for name in SETS:
        write_set(data, name)
    (data / "mcq").mkdir()
    write(data / "mcq" / "Birds.tsv", [row(str(number), image=coded(png((number, 9, 9)))) for number in range(3)])
    for step in (100, 200):
        save(context.train / "checkpoints" / f"step-{step:08d}", step)
    context.model.mkdir(parents=True)
    (context.model / "config.json").write_text("{}")
    seen = Sample(key=make_key("pairs", 0), dataset="pairs", query=Side(text="a"), positive=Side(text="b"))
    write_shards([seen], context.shards, dataset="pairs", kind="pairs")
    for folder, name in ((context.model, "model"), (context.train, "train")):
        Manifest(stage=name, fingerprint="f" * 64, outputs={"content": name}).write(folder)
    Manifest(stage="convert", fingerprint="f", outputs={"content": ShardIndex.open(context.shards).fingerprint}).write(
        context.shards
    )
    return context


def write_set(data: Path, name: str, word: str = "") -> None:
    rows = [
        (f"<|image_1|>\n{name}{word} {n}\n", f"{name}/{n}.png", [CAPTION.format(f"{name} {m}") for m in (n, 1 - n)], ["", ""])
        for n in range(2)
    ]
    folder = data / "MMEB-eval" / name
    if folder.is_dir():
        (folder / "test-00000-of-00001.parquet").unlink()
        folder.rmdir()
    write_eval(data, name, rows)


def save(folder: Path, step: int) -> None:
    digests = {checkpoint.WEIGHTS: f"of step {step}"}
    state = checkpoint.State(
        step=step, recipe="tiny", recipe_fingerprint="r", data_fingerprint="d", model_folder="m", digests=digests
    )
    checkpoint.save(folder, {}, {}, state, "{}")


def evaluate(context: Context, **choice: object) -> dict[str, int]:
    """Run the stage; the counts that it tells."""
    return dict(run_stage(EvaluateStage(context=context, choice=Choice(**choice)), context).manifest.counts)


def test_everything_is_measured_once(context: Context, models: Models) -> None:
    counts = evaluate(context)
    assert counts == {"step": 200, "datasets": 3, "questions": 3, "texts": 6, "measured": 3 + 3 + 3 + 3 + 1}
    assert models.embedded == {"fake untrained": 12, "fake step-00000200": 24}
    assert models.asked == 3 * 3 + 6
    models.forget()
    assert run_stage(EvaluateStage(context=context), context).was_done
    assert models.loaded == []


def test_elastic_tokens_are_measured_at_each_of_their_numbers(context: Context, models: Models) -> None:
    """In retrieval, in answers from tokens alone and in texts; the counts that are told are those of all tokens."""
    context = replace(context, recipe=load("tiny_elastic"))
    counts = evaluate(context)
    assert counts == {"step": 200, "datasets": 3, "questions": 3, "texts": 6, "measured": 3 + (3 + 2 + 1) + (3 + 3 + 3 + 1)}
    assert models.embedded == {"fake untrained": 12, "fake step-00000200 of 4": 12, "fake step-00000200": 24}
    there = {path.name for path in (context.evaluation / "trained_4_tokens").glob("Birds-*.json")}
    assert there == {"Birds-compressed.json", "Birds-swapped.json"}
    told = [line.split() for line in token_table(context.evaluation, (4, 16)).splitlines()]
    assert [line[:2] for line in told[1:]] == [["4", "tokens"], ["16", "tokens"], ["native", "-"]] and len(told[1]) == 6
    table = result_table(context.evaluation, (4,)).splitlines()
    assert [line[:24].strip() for line in table[3:5]] == ["trained, 4 tokens", "trained"] and "-" not in table[3]


def test_a_kill_in_the_last_set_costs_that_set(context: Context, models: Models) -> None:
    """As SIGKILL does it, in a process of its own."""
    child = os.fork()
    if child == 0:
        models.embed_one = killing_in_the_last_set(context)
        evaluate(context)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (context.evaluation / "manifest.json").exists()
    assert evaluate(context)["measured"] == 1 + 3 + 1, "the last set, the question file in three modes, the reconstruction"
    assert models.embedded == {"fake step-00000200": 4}
    assert read_result(MmebResult, context.evaluation / "untrained" / "mmeb.json").overall.count == 3


def killing_in_the_last_set(context: Context) -> Callable[[Side], np.ndarray]:
    """Embeds until all sets but the last with blank pictures have their files, then dies."""

    def embed_one(side: Side) -> np.ndarray:
        there = {path.name for path in (context.evaluation / "trained" / "mmeb-blank").glob("*.json")}
        if there == {f"{name}.json" for name in SETS[:-1]}:
            os.kill(os.getpid(), signal.SIGKILL)
        return FakeModel().embed_one(side)

    return embed_one


def test_a_changed_set_is_measured_again_alone(context: Context, models: Models) -> None:
    evaluate(context, only=("retrieval",))
    before = (context.evaluation / "trained" / "mmeb.json").read_bytes()
    models.forget()
    write_set(context.data, "NIGHTS", word=" anew")
    assert evaluate(context, only=("retrieval",))["measured"] == 3
    assert models.embedded == {"fake untrained": 4, "fake step-00000200": 8}
    assert (context.evaluation / "trained" / "mmeb.json").read_bytes() != before


def test_files_that_only_look_changed_are_read_and_nothing_is_embedded(context: Context, models: Models) -> None:
    evaluate(context)
    models.forget()
    for path in context.data.rglob("*"):
        os.utime(path)
    assert evaluate(context)["measured"] == 0
    assert models.embedded == {} and models.asked == 0


def test_one_unusable_set_costs_that_set_alone(context: Context, models: Models, caplog: pytest.LogCaptureFixture) -> None:
    pictures = {f"{name}/{number}.png": png((number * 90, 7, 7)) for name in SETS for number in range(2)}
    write_pictures(context.data, pictures | {"WebQA/1.png": b"no picture"})
    with pytest.raises(DataError, match=r"^not measured, for the reasons said above: WebQA; all else is measured and kept"):
        evaluate(context)
    said = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1 and said[0].startswith("error: WebQA: ") and "row 1" in said[0]
    assert models.embedded == {"fake untrained": 8, "fake step-00000200": 16}
    result = read_result(MmebResult, context.evaluation / "trained" / "mmeb.json")
    assert result.size_of("overall") == "2 of 3 sets"
    assert not (context.evaluation / "manifest.json").exists()
    models.forget()
    write_pictures(context.data, pictures)
    counts = evaluate(context)
    assert counts["datasets"] == 3 and counts["measured"] == 3 + 1, "the set three times, and the texts with its own"
    assert models.embedded == {"fake untrained": 4, "fake step-00000200": 8}


def test_a_disk_that_fails_under_a_set_costs_that_set_and_a_full_one_ends_it(
    context: Context, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(data: Path, dataset: str) -> str:
        raise OSError(errno.EIO, "Input/output error", str(data / dataset))

    with monkeypatch.context() as patch, pytest.raises(DataError, match="said above: CIRR, NIGHTS, WebQA;"):
        patch.setattr("eval.retrieval_set.check_eval", failing)
        evaluate(context, only=("retrieval",))
    assert models.embedded == {}

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("eval.measurement.write_result", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(context, only=("retrieval",))
    assert models.embedded == {"fake untrained": 4}, "not one set after the other"


def test_an_unusable_question_file_is_told_before_a_model_loads_and_costs_that_file(
    context: Context, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    (context.data / "mcq" / "Cut.tsv").write_text("index\tquestion\n")
    loaded_at: list[int] = []
    one = models.load

    def load_model(path: Path, **given: object) -> FakeModel:
        loaded_at.append(len([record for record in caplog.records if "Cut.tsv" in record.message]))
        return one(path, **given)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match=r"said above: Cut\.tsv;"):
        patch.setattr("pipeline.merged.load_merged", load_model)
        evaluate(context, only=("questions",))
    assert set(loaded_at) == {1}
    assert models.asked == 9
    assert (context.evaluation / "trained" / "Birds-native.json").is_file()


def test_a_set_that_came_in_part_costs_that_set(context: Context, models: Models, caplog: pytest.LogCaptureFixture) -> None:
    half = context.data / "MMEB-eval" / "Half"
    half.mkdir()
    (half / "test-00000-of-00001.parquet.incomplete").touch()
    with pytest.raises(DataError, match="said above: Half; all else is measured and kept"):
        evaluate(context)
    (said,) = [line for line in caplog.messages if line.startswith("error: Half: ")]
    assert "no test-NNNNN-of-MMMMM.parquet in it" in said
    whole = read_result(MmebResult, context.evaluation / "trained" / "mmeb.json")
    assert ([item.name for item in whole.datasets], whole.size_of("overall")) == (list(SETS), "3 of 4 sets")
    assert models.asked == 9 + 6, "the questions, and the reconstruction over what is whole"


def test_an_empty_folder_of_questions_costs_nothing_else(
    context: Context, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    (context.train / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n')
    (context.data / "mcq" / "Birds.tsv").unlink()
    counts = evaluate(context)
    assert (counts["datasets"], counts["questions"], counts["texts"]) == (3, 0, 6)
    assert [line for line in caplog.messages if line.endswith("mcq: no *.tsv in it, so no questions are asked")]
    run_stage(ReportStage(context=context), context)
    for only in (("questions", "questions"), ("questions", "retrieval")):
        with pytest.raises(DataError, match="put VLMEvalKit question files there"):
            evaluate(context, only=only)


def test_a_choice_that_holds_nothing_is_refused(context: Context, models: Models) -> None:
    """A finished evaluation of nothing would pass for a measured one."""
    (context.data / "MMEB-eval").rename(context.work / "elsewhere")
    with pytest.raises(DataError, match="data: nothing of reconstruction can be measured with recipe tiny"):
        evaluate(context, only=("reconstruction",))
    assert evaluate(context, only=("reconstruction", "questions"))["questions"] == 3


def test_the_page_says_that_a_checkpoint_was_named(context: Context, models: Models) -> None:
    """Its curves are those of this training, whatever was measured."""
    (context.train / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n')
    other = context.work.parent / "another training" / "step-00000700"
    save(other, 700)
    for checkpoint_, said in ((str(other), "named by --checkpoint, after step 700"), ("", "after step 200")):
        evaluate(context, only=("retrieval",), checkpoint=checkpoint_)
        run_stage(ReportStage(context=context), context)
        page = (context.report / "report.html").read_text()
        assert said in page
        assert ("named by --checkpoint" in page) == bool(checkpoint_)


def test_free_answers_without_a_judge_are_asked_and_have_no_figure(
    context: Context, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: dict[str, float] = {}
    monkeypatch.setattr("pipeline.tracking.NullTracker.log_metrics", lambda self, metrics, step=None: noted.update(metrics))
    columns = ("index", "question", "answer", "category", "image")
    rows = [[str(number), "What does it say?", "yes", "ocr", coded(png((number, 2, 3)))] for number in range(3)]
    write(context.data / "mcq" / "MMVet_small.tsv", rows, columns)
    assert evaluate(context, only=("questions",))["questions"] == 6
    assert not [name for name in noted if "MMVet" in name]


def test_a_benchmark_s_own_figure_is_noted(context: Context, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rotated questions the share with all rotations right; of HallusionBench the mean of three."""
    noted: dict[str, float] = {}
    monkeypatch.setattr("pipeline.tracking.NullTracker.log_metrics", lambda self, metrics, step=None: noted.update(metrics))
    indices = ("1", "2", "1000001", "1000002")
    rows = [row(index, answer="AAAB"[place], image=coded(png((place, 1, 1)))) for place, index in enumerate(indices)]
    write(context.data / "mcq" / "Turned.tsv", rows)
    columns = ("index", "question", "answer", "category", "l2-category", "image")
    of_set = [[f"VD_a_1_1_{n}_1", "?", "Yes", "VD", "VD_a", coded(png((9, n, 9)))] for n in range(3)]
    write(context.data / "mcq" / "Own.tsv", of_set, columns)
    evaluate(context, only=("questions",))
    assert noted["eval/trained/accuracy/native/Turned"] == 0.5, "always A is right in three rows of four"
    assert noted["eval/trained/accuracy/native/Own"] == 0.0


def test_one_more_file_of_questions_is_measured_alone(context: Context, models: Models) -> None:
    """In the folder of the toy world too, whose other files stage `toy` answers for."""
    toy = replace(context, data=context.toy)
    context.data.rename(context.toy)
    Manifest(stage="toy", fingerprint="f" * 64, outputs={"content": "toy"}).write(context.toy)
    evaluate(toy)
    models.forget()
    assert run_stage(EvaluateStage(context=toy), toy).was_done
    write(toy.data / "mcq" / "More.tsv", [row(str(number), image=coded(png((number, 3, 9)))) for number in range(4)])
    assert evaluate(toy)["measured"] == 3
    assert (models.embedded, models.asked) == ({}, 3 * 4)


def test_a_file_of_questions_is_no_input_of_the_conversion(context: Context) -> None:
    """In a user's folder: the corpora are not converted anew for it, and are for a file of theirs."""

    def state() -> str:
        return _input_state(ConvertStage(context=context).inputs()["data"])[0]

    before = state()
    write(context.data / "mcq" / "More.tsv", [row(str(number), image=coded(png((number, 3, 9)))) for number in range(4)])
    assert state() == before
    (context.data / "MMEB-train").mkdir()
    (context.data / "MMEB-train" / "rows.parquet").write_bytes(b"other")
    assert state() != before


def test_what_one_choice_measured_is_kept_for_the_next(context: Context, models: Models) -> None:
    assert evaluate(context, only=("retrieval",), untrained=False, blank=False)["measured"] == 3
    assert models.embedded == {"fake step-00000200": 12}
    assert evaluate(context, only=("questions",))["measured"] == 3
    models.forget()
    evaluate(context)
    assert models.embedded == {"fake untrained": 12, "fake step-00000200": 12}, "blank pictures, and the untrained model"
    assert models.asked == 6, "the reconstruction"
    models.forget()
    evaluate(context, only=("retrieval",), untrained=False, blank=False)
    assert models.loaded == []


def test_what_no_longer_holds_is_not_shown_by_another_choice(context: Context, models: Models) -> None:
    evaluate(context)
    write(context.data / "mcq" / "Birds.tsv", [row(str(number), image=coded(png((9, number, 9)))) for number in range(3)])
    evaluate(context, only=("retrieval",))
    shown = {path.name for path in (context.evaluation / "trained").glob("*.json")}
    assert "mmeb.json" in shown and "reconstruct.json" in shown
    assert not [name for name in shown if name.startswith("Birds")]


def test_each_checkpoint_keeps_its_results(context: Context, models: Models) -> None:
    evaluate(context, only=("retrieval",))
    first = (context.evaluation / "trained" / "mmeb.json").read_bytes()
    models.forget()
    evaluate(context, only=("retrieval",), checkpoint="100")
    assert models.embedded == {"fake step-00000100": 24}, "the untrained model is the same"
    models.forget()
    evaluate(context, only=("retrieval",), checkpoint=str(context.train / "checkpoints" / "step-00000200"))
    assert models.loaded == []
    assert (context.evaluation / "trained" / "mmeb.json").read_bytes() == first
    with pytest.raises(ConfigError, match=r"--checkpoint 300: no folder .* there are step-00000100, step-00000200"):
        evaluate(context, checkpoint="300")


def test_a_checkpoint_is_measured_while_training_goes_on(context: Context, models: Models) -> None:
    (context.train / "manifest.json").unlink()
    (context.shards / "manifest.json").unlink()
    with pytest.raises(DataError, match="run crem train first"):
        evaluate(context, only=("retrieval",))
    assert evaluate(context, only=("retrieval", "questions"), checkpoint="100")["measured"] == 9 + 3


def test_embeddings_are_kept_in_the_work_folder_and_serve_other_measurements(
    context: Context, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blank pictures leave the captions as they are, and scores that --force makes anew need no model."""
    monkeypatch.setattr(Encoding, "usual", USUAL)
    evaluate(context, only=("retrieval",), untrained=False)
    assert models.embedded == {"fake step-00000200": 12 + 6}, "queries and captions of three sets, and queries of grey pictures"
    models.forget()
    assert evaluate(replace(context, force=True), only=("retrieval",), untrained=False)["measured"] == 6
    assert models.embedded == {}
    assert list((context.work / "embeddings").glob("*/*.block"))


def test_force_measures_what_is_chosen_anew_and_keeps_the_old_beside_it(context: Context, models: Models) -> None:
    evaluate(context)
    models.forget()
    assert evaluate(replace(context, force=True), only=("questions",))["measured"] == 3
    assert (models.embedded, models.asked) == ({}, 9)
    assert list((context.evaluation / "trained.old").glob("Birds-native.*.jsonl"))
    assert evaluate(context)["measured"] == 0


def test_the_report_of_a_part_says_what_was_not_measured(context: Context, models: Models) -> None:
    (context.train / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n')
    evaluate(context, only=("retrieval",), untrained=False, checkpoint="100")
    run_stage(ReportStage(context=context), context)
    page = (context.report / "report.html").read_text()
    assert "trained model: <code>named by --checkpoint, after step 100</code>" in page
    assert page.count("Not measured.") == 2 and "crem evaluate --only questions" in page


def test_found_results_are_noted_in_the_tracker_too(context: Context, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    noted, files = dict[str, float](), list[Path]()
    monkeypatch.setattr("pipeline.tracking.NullTracker.log_metrics", lambda self, metrics, step=None: noted.update(metrics))
    monkeypatch.setattr("pipeline.tracking.NullTracker.log_artifact", lambda self, path: files.append(path))
    evaluate(context)
    first = {name: value for name, value in noted.items() if name.startswith("eval/")}
    assert {"eval/trained/hit_at_1/WebQA", "eval/trained_blank/hit_at_1/overall", "eval/trained/reconstructed"} <= set(first)
    for metric in ("recall_at_5", "mrr", "ndcg_linear_at_10", "map"):
        values = {name.split("/")[-1]: value for name, value in first.items() if name.startswith(f"eval/trained/{metric}/")}
        sets = [each.name for each in read_result(MmebResult, context.evaluation / "trained" / "mmeb.json").datasets]
        assert values["overall"] == pytest.approx(np.mean([values[name] for name in sets]))
    kept = {path.name for path in files}
    assert {"mmeb.json", "mmeb.parquet", "mmeb-blank.parquet"} <= kept
    noted.clear()
    (context.evaluation / "manifest.json").unlink()
    evaluate(context)
    assert {name: value for name, value in noted.items() if name.startswith("eval/")} == first


def test_a_model_without_compression_tokens_is_asked_natively_alone(context: Context, models: Models) -> None:
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
    without: Recipe = replace(
        context.recipe,
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),
        phases=(replace(context.recipe.phase, layout=layout),),
    )
    assert EvaluateStage(context=context).modes == ("native", "compressed", "swapped")
    assert evaluate(replace(context, recipe=without))["measured"] == 9 + 1
    assert EvaluateStage(context=replace(context, recipe=without)).settings()["modes"] == ("native",)


def test_a_mode_that_can_show_nothing_is_left_out_and_said(
    context: Context, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    """All rows have one picture, so there is no other row's to swap in."""
    write(context.data / "mcq" / "Birds.tsv", [row(str(number), image=coded(png((1, 2, 3)))) for number in range(3)])
    evaluate(context, only=("questions",))
    assert [line for line in caplog.messages if line.startswith("trained/Birds-swapped: left out: ")]
    assert {path.name for path in (context.evaluation / "trained").glob("Birds*.json")} == {
        "Birds-native.json",
        "Birds-compressed.json",
    }


def test_what_several_processes_embed_is_not_embedded_again(
    context: Context, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run by a lone one here: the sets of both models, with blank pictures of the trained one; then the stage embeds nothing."""
    monkeypatch.setattr(Encoding, "usual", USUAL)
    stage = EvaluateStage(context=context, choice=Choice(only=("retrieval",)))
    assert embed_sets(stage, LONE) == 3 * len(eval_datasets(context.data))
    made = models.embedded
    assert list(made) == ["fake untrained", "fake step-00000200"]
    evaluate(context, only=("retrieval",))
    assert models.embedded == made and len(models.loaded) > 2
    for only in (("questions",), ("retrieval",)):
        models.forget()
        embed_sets(EvaluateStage(context=context, choice=Choice(only=only, untrained=False)), LONE)
        assert [model.fingerprint for model in models.loaded] == ["fake step-00000200"] * (only == ("retrieval",))


def test_a_set_that_cannot_be_embedded_is_left_to_the_stage(
    context: Context, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoding, "usual", USUAL)
    models.embed_one = lambda side: np.full(4, np.nan)
    assert embed_sets(EvaluateStage(context=context, choice=Choice(only=("retrieval",))), LONE) == 0


def test_a_judge_reads_what_the_rules_cannot(context: Context, tmp_path: Path) -> None:
    """Its name decides the results, its address does not; without one the settings are those of before there were judges."""
    model = Evaluated(TRAINED, LazyModel(FakeModel), ResultFolder(tmp_path))

    def asked(choice: Choice) -> tuple[set[object], object]:
        stage = EvaluateStage(context=context, choice=replace(choice, only=("questions",)))
        found = [each for each in stage._measurements(model) if isinstance(each, Questions)]
        assert len(found) == 3, "one file in three modes"
        return {each.settings["judge"] for each in found}, stage.settings()["choice"]

    plain, judged = asked(Choice()), asked(Choice(judge="some-model", judge_urls=("http://127.0.0.1:1/v1",)))
    assert (plain[0], judged[0]) == ({"exact"}, {f"some-model, words {VERSION}"})
    assert "judge" not in str(plain[1]) and "some-model" in str(judged[1]) and "127.0.0.1" not in str(judged[1])
    with pytest.raises(ConfigError, match="--judge some-model"):
        asked(Choice(judge="some-model"))
