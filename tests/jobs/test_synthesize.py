"""Stage `synthesize`: what a recipe has asked, which settings make it run again, and that they reach the teacher."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from data_prep import qa_filters
from data_prep.qa_dialogue import LIST_PROMPT
from data_prep.qa_kinds import BY_NAME
from data_prep.qa_teacher import LocalTeacher
from data_prep.slices import Slice
from jobs import defaults
from jobs.run import Machine, stage
from jobs.stage import Context
from jobs.synthesize import kinds_needed
from pipeline.chat import Answer, ChatRequest
from pipeline.data.keys import make_key
from pipeline.data.qa import QaKind, QaTable
from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import fingerprint
from pipeline.recipes import load
from pipeline.sample import Sample, Side, Turn
from pipeline.targets import Caption, Description, Dialogue, OtherSide, OwnQuestions
from pipeline.tracking import NullTracker
from tests.chat_server import Reply, chat_server, completion
from tests.shards import write_shards


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Shards of one pair, of a picture and its caption."""
    file = io.BytesIO()
    Image.new("RGB", (28, 28)).save(file, "PNG")
    query, positive = Side(text="<|image_1|>\nFind a caption.", images=(file.getvalue(),)), Side(text="a black square")
    context = Context(work=tmp_path / "work", data=tmp_path / "data", recipe=load("tiny"), tracking="none")
    row = Sample(key=make_key("Pics", 0), dataset="Pics", query=query, positive=positive)
    write_shards([row], context.shards, dataset="Pics", kind="pairs")
    return context


def test_the_limit_of_tokens_reaches_the_teacher(context: Context, tmp_path: Path) -> None:
    with chat_server(lambda number, body: completion("A square.")) as server:
        asking = stage("synthesize", context, Machine(url=(server.url,), answer_tokens=9))
        result = asking.run(tmp_path / "qa", NullTracker())
        assert [body["max_tokens"] for body in server.requests] == [9]
    assert (result.counts["described"], result.counts["rejected"]) == (1, 0)
    assert ", ".join(f"{kind.max_tokens} for {kind.name}" for kind in BY_NAME.values()) == defaults.ANSWER_TOKENS


def test_another_limit_or_filter_makes_the_stage_run_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [
        stage("synthesize", context, Machine(url=("http://127.0.0.1:1/v1",), answer_tokens=n)).settings() for n in (9, 9, 10)
    ]
    assert settings[0] == settings[1] != settings[2]
    monkeypatch.setattr("jobs.synthesize.RULES", replace(qa_filters.RULES, least_looped=50))
    assert stage("synthesize", context, Machine(url=("http://127.0.0.1:1/v1",), answer_tokens=9)).settings() != settings[0]


def test_what_is_asked_follows_from_the_recipe() -> None:
    recipe = load("tiny")
    unasked = recipe.with_phase(mixture=replace(recipe.phase.mixture, own_sides=()))
    dialogue = recipe.with_phase(target=Dialogue())
    both = replace(dialogue, phases=(*dialogue.phases, replace(recipe.phase, name="second")))
    assert kinds_needed(recipe) == ("qa",)
    assert kinds_needed(dialogue) == ("dialogue",)
    assert kinds_needed(both) == ("qa", "dialogue")
    assert [kinds_needed(recipe.with_phase(target=target)) for target in (Caption(), Description())] == [
        ("caption",),
        ("description",),
    ]
    assert kinds_needed(unasked) == kinds_needed(recipe.with_phase(target=OtherSide())) == ()
    with pytest.raises(ConfigError, match=r"target\.needs: no synthesis makes songs; there are qa, dialogue"):
        kinds_needed(recipe.with_phase(target=Song()))


@dataclass(frozen=True, slots=True)
class Song(OwnQuestions):
    """A target of a user's own that needs what nobody makes."""

    needs: ClassVar[str] = "songs"


def test_settings_of_kind_qa_are_what_finished_stages_have_been_made_from(context: Context) -> None:
    """Written out by hand, so that a stage that was finished before there were other kinds is found done."""
    machine = Machine(url=("http://127.0.0.1:1/v1",), teacher="a model")
    settings = dict(stage("synthesize", context, machine).settings())
    question, prompt = settings.pop("question"), str(settings.pop("prompt"))
    assert (question, fingerprint(prompt)[:12]) == ("Describe the represented image", "799d46b41532")
    assert settings == {"teacher": "a model", "answer_tokens": 256, "filters": fingerprint(qa_filters.RULES)}


def test_a_recipe_that_asks_pairs_nothing_has_nothing_made_and_leaves_what_is_there(context: Context) -> None:
    """So that what was trained beside it by an earlier version, which asked all the same, is not trained again."""
    unasked = replace(context, recipe=context.recipe.with_phase(mixture=replace(context.recipe.phase.mixture, own_sides=())))
    with chat_server(lambda number, body: completion("A square.")) as server:
        machine = Machine(url=(server.url,))
        context.qa.mkdir(parents=True)
        empty = stage("synthesize", unasked, machine).run(context.qa, NullTracker())
        assert server.requests == [] and list(context.qa.iterdir()) == [] and empty.counts == {}
        asked = stage("synthesize", context, machine).run(context.qa, NullTracker())
        kept = {path.name: path.read_bytes() for path in context.qa.iterdir()}
        again = stage("synthesize", unasked, machine).run(context.qa, NullTracker())
        assert len(server.requests) == 1
    assert {path.name: path.read_bytes() for path in context.qa.iterdir()} == kept
    assert again.content == asked.content != empty.content
    settings = [stage("synthesize", one, machine).settings() for one in (unasked, context)]
    assert settings[0] != settings[1] and settings[0] == stage("synthesize", unasked, Machine()).settings()


@pytest.mark.parametrize("needed", [("dialogue",), ("qa", "dialogue")])
def test_kinds_lie_side_by_side_each_with_its_settings_and_counts(context: Context, needed: tuple[QaKind, ...]) -> None:
    phases = {"qa": context.recipe.phase, "dialogue": replace(context.recipe.phase, name="compress", target=Dialogue())}
    context = replace(context, recipe=replace(context.recipe, phases=tuple(phases[kind] for kind in needed)))
    turns = [(f"What is {n}?", f"it is {n}") for n in ("left", "right", "above")]
    replies = {LIST_PROMPT: "\n".join(question for question, _ in turns), **dict(turns)}

    def answer(number: int, body: dict[str, Any]) -> Reply:
        return completion(replies.get(body["messages"][-1]["content"][-1]["text"], "A square."))

    with chat_server(answer) as server:
        asking = stage("synthesize", context, Machine(url=(server.url,)))
        result = asking.run(context.qa, NullTracker())
        limits = [body["max_tokens"] for body in server.requests]
    assert limits == [256] * ("qa" in needed) + [4096] * 4
    assert (result.counts["dialogue_described"], result.counts["dialogue_turns_3"]) == (1, 1)
    assert ("described" in result.counts) == ("qa" in needed)
    key = make_key("Pics", 0)
    assert QaTable.open(context.qa, "dialogue").turns("Pics", key, "query") == tuple(Turn(question=q, answer=a) for q, a in turns)
    assert len(QaTable.open(context.qa).turns("Pics", key, "query")) == ("qa" in needed)
    capped = dict(stage("synthesize", context, Machine(url=("http://127.0.0.1:1/v1",), most_pictures=7)).settings())
    assert capped.pop("dialogue")["most_pictures"] == 7 and "most_pictures" not in capped  # type: ignore[index]
    settings = asking.settings()
    assert "most_pictures" not in settings["dialogue"]  # type: ignore[operator]
    assert settings["dialogue"]["answer_tokens"] == 4096 and settings["dialogue"]["temperature"] == 0.7  # type: ignore[index]
    assert ("question" in settings) == ("qa" in needed)
    assert result.content != QaTable.open(context.qa).fingerprint, "training depends on the dialogues too"


def test_a_file_of_prompts_is_a_setting_by_what_it_says(context: Context, tmp_path: Path) -> None:
    machine, path = Machine(url=("http://127.0.0.1:1/v1",), teacher="a model"), tmp_path / "my.toml"
    ours = stage("synthesize", context, machine).settings()
    with_file = replace(machine, prompts=path)
    path.write_text("[caption]\nagain = 1\n")
    assert stage("synthesize", context, with_file).settings() == ours, "captions are not asked for"
    path.write_text("[qa]\nagain = 1\n")
    assert stage("synthesize", context, with_file).settings() == {**ours, "again": 1}
    path.write_text("[qa]\nprompt = 'What of {request}?'\n")
    assert stage("synthesize", context, with_file).settings()["prompt"] == "What of {request}?"
    own = replace(context.recipe, phases=(replace(context.recipe.phase, target=Song()),))
    assert kinds_needed(own, ("qa", "songs")) == ("songs",), "a kind of the user's own"


def test_a_sample_is_shown_and_kept_before_the_stage_runs(context: Context, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    with chat_server(lambda number, body: completion("A square.")) as server:
        asking = stage("synthesize", context, Machine(url=(server.url,)))
        lines = asking.sample(5, sheet, None)  # type: ignore[attr-defined]
        asking.run(context.qa, NullTracker())
        assert len(server.requests) == 1
    assert lines[0] == "qa: asked for real: 1 sides, 0 without an answer to learn; 1.00 requests each"
    assert lines[1].startswith("qa: left: about 0 different sides, 0 requests") and "A square." in sheet.read_text()
    with pytest.raises(ConfigError, match="--sample, --dry-run: nothing is asked without --url or --local"):
        stage("synthesize", context, Machine()).sample(5, None, None)  # type: ignore[attr-defined]


def test_a_model_folder_answers_in_place_of_an_endpoint(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stand:
        def answers(self, requests: Sequence[tuple[str, ChatRequest]]) -> Iterator[tuple[str, Answer]]:
            for key, request in requests:
                assert request.images and request.sampling.max_tokens == 9
                yield key, Answer(text="A square.", finish_reason="stop", max_tokens=9)

    monkeypatch.setattr(LocalTeacher, "_loaded", Stand())
    folder = tmp_path / "my_model"
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"--local .*/my_model: no config\.json in it"):
        stage("synthesize", context, Machine(teacher_folder=folder))
    (folder / "config.json").write_text("{}")
    machine = Machine(teacher_folder=folder, answer_tokens=9)
    asking = stage("synthesize", context, machine)
    assert str(asking.settings()["teacher"]).startswith("my_model ")
    lines = asking.sample(5, None, None)  # type: ignore[attr-defined]
    assert lines[0] == "qa: asked for real: 1 sides, 0 without an answer to learn; 1.00 requests each"
    counts = asking.run(context.qa, NullTracker()).counts
    assert (counts["described"], counts["asked"]) == (1, 0), "the sample had asked about the one side"
    assert asking.run_slice(Slice(index=0, of=1)) == {"qa asked": 0, "qa failed": 0}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="--local: a model folder answers in place of an endpoint"):
        stage("synthesize", context, replace(machine, url=("http://127.0.0.1:1/v1",)))
