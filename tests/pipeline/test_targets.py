"""What a pair's sides are trained to say."""

import json
from dataclasses import replace

import pytest

from pipeline.data.qa import QaTable
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import canonical_json
from pipeline.negatives import InFile
from pipeline.overrides import override
from pipeline.recipe_json import recipe_from_json
from pipeline.roles import Role
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.targets import Caption, Description, Dialogue, OtherSide, OwnQuestions, Relevance, Target
from pipeline.train.dataloader.step_dataset import StepDataset
from tests.pipeline.corpus import corpus, measured, small_recipe
from tests.pipeline.test_layouts import COMA, TARGET

SAMPLE = Sample(
    key="a-1",
    dataset="A",
    query=Side(instruction="<|image_1|>\nFind a text", text="about a red star\n", images=(b"x",)),
    positive=Side(instruction="Represent", text=" <|image_1|> a  star <|image_2|>", images=(b"x", b"y")),
)
NOTHING = QaTable.open(None)


class Written:
    """Synthesized turns that name what was asked for."""

    def turns(self, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        return (Turn(question=f"{dataset} {key}", answer=side),)


@pytest.mark.parametrize(
    ("told", "query", "positive"),
    [
        ("positive", "a star", None),
        ("query", None, "about a red star"),
        ("both", "a star", "about a red star"),
        ("none", None, None),
    ],
)
def test_the_other_side_s_own_words_are_told(told: str, query: str | None, positive: str | None) -> None:
    """Without the wording of the task and without markers; "positive" is told by the query's tokens."""
    target = OtherSide(told=(("A", told),), otherwise="none")  # type: ignore[arg-type]
    expected = [(Turn(question="", answer=text),) if text else () for text in (query, positive)]
    assert [target.turns(SAMPLE, side, NOTHING) for side in ("query", "positive")] == expected  # type: ignore[arg-type]
    assert target.expects("A") == (told != "none") and not target.expects("B")


def test_a_side_without_words_is_not_told() -> None:
    for other in (None, Side(images=(b"x",)), Side(instruction="Represent", text=" <|image_1|>\n", images=(b"x",))):
        assert OtherSide().turns(replace(SAMPLE, positive=other), "query", NOTHING) == ()


def test_own_questions_and_dialogues_are_synthesized() -> None:
    kinds: dict[Target, str] = {OwnQuestions(): "qa", Dialogue(): "dialogue", Caption(): "caption", Description(): "description"}
    for target, kind in kinds.items():
        assert target.needs == kind and target.expects("A")
        turns = target.turns(SAMPLE, "positive", Written())  # type: ignore[arg-type]
        assert turns == (Turn(question="A a-1", answer="positive"),)
    assert OtherSide().needs == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"told": (("A", "query"), ("A", "none"))}, r"target\.told: A stands there twice"),
        ({"told": (("A", "left"),)}, r"target\.told, A: 'left' is not one of query, positive, both, none"),
        ({"otherwise": "x"}, r"target\.told, otherwise: 'x' is not one of"),
    ],
)
def test_rules_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OtherSide(**fields)  # type: ignore[arg-type]


def test_a_target_goes_through_settings_and_json() -> None:
    recipe = override(small_recipe(), ["phases.0.target=OtherSide", 'phases.0.target.told=[["A", "both"]]'])
    assert recipe.phase.target == OtherSide(told=(("A", "both"),))
    assert recipe_from_json(canonical_json(recipe)) == recipe
    plain = json.loads(canonical_json(small_recipe()))
    del plain["phases"][0]["target"]
    assert recipe_from_json(json.dumps(plain)).phase.target == OwnQuestions()
    with pytest.raises(
        ConfigError, match=r"phases\.0\.target=Other: 'Other' is not one of OwnQuestions, .*Dialogue, .*Caption, .*OtherSide"
    ):
        override(small_recipe(), ["phases.0.target=Other"])


def dataset_of(builder: SequenceBuilder, target: OtherSide) -> StepDataset:
    recipe = small_recipe().with_phase(layout=TARGET, target=target)
    recipe = recipe.with_phase(mixture=replace(recipe.phase.mixture, outside=0))
    return StepDataset(measured(corpus(), recipe, builder.vocabulary), recipe, builder.vocabulary)


def test_a_step_scores_what_the_rule_tells(builder: SequenceBuilder) -> None:
    """Rows of the sides that tell have the other side's text, and the others end with their tokens."""
    dataset = dataset_of(builder, OtherSide(told=(("texts", "both"),), otherwise="none"))
    draw, plan = dataset.draw(0), dataset.plan(dataset.draw(0), 0)
    rows = dataset.global_rows(draw, 0)
    for side, row in zip(plan.sides, rows, strict=True):
        sample = dataset.corpus.index.read(side.row)
        assert (row.num_scored > 0) == (sample.dataset == "texts")
        if row.num_scored:
            other = sample.positive if side.side_index == 0 else sample.query
            assert other is not None
            told = row.sequence.input_ids[row.sequence.roles == Role.ANSWER].tolist()
            assert told == [*builder.vocabulary.encode(" ".join(other.text.split())), builder.vocabulary.im_end]


def test_a_step_of_which_nothing_is_meant_to_be_told_is_no_error(builder: SequenceBuilder) -> None:
    """Bottleneck Tokens' CIRR and NIGHTS have nothing to generate; elsewhere a step without an answer is a mistake."""
    silent, told = (dataset_of(builder, OtherSide(otherwise=otherwise)) for otherwise in ("none", "positive"))
    quiet, asked = silent.work(silent.draw(0), 0), told.work(told.draw(0), 0)
    assert not quiet.asks and asked.asks
    assert quiet.num_unanswered == 2 * silent.phase.mixture.pairs, "counted all the same"
    assert asked.num_unanswered == told.phase.mixture.pairs, "the positives' rows have nothing to tell"
    assert not isinstance(silent[0], DataError)


def test_of_a_dialogue_the_first_turns_are_learnt() -> None:
    """CoMa's single turn is the first one."""
    assert [turn.question for turn in Dialogue().turns(SAMPLE, "query", Several())] == ["1", "2", "3"]  # type: ignore[arg-type]
    assert [turn.question for turn in Dialogue(most=1).turns(SAMPLE, "query", Several())] == ["1"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"target\.most: 0 is less than 1"):
        Dialogue(most=0)


class Several:
    """Three turns about any side."""

    def turns(self, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        return tuple(Turn(question=str(number), answer="yes") for number in (1, 2, 3))


def test_sides_of_text_may_be_asked_nothing() -> None:
    sample = replace(SAMPLE, positive=Side(text="a star"))
    target = OwnQuestions(texts=False)
    assert target.turns(sample, "query", Written()) and not target.turns(sample, "positive", Written())  # type: ignore[arg-type]
    assert OwnQuestions().turns(sample, "positive", Written())  # type: ignore[arg-type]


@pytest.mark.parametrize(("bare", "embeds"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("kind", [Dialogue, Caption, Description])
def test_a_phase_that_embeds_nothing_may_compress_bare_pictures(
    builder: SequenceBuilder, kind: type[Dialogue] | type[Caption], bare: bool, embeds: bool
) -> None:
    """Before the tokens: a block of 4 visual tokens and the cue, or the side's words too; what is embedded is always whole."""
    cue = "what is"
    layout = replace(COMA, cue=cue)
    mixture = replace(small_recipe().phase.mixture, outside=0)
    recipe = small_recipe(
        layout=layout, target=kind(bare=bare), mixture=mixture, contrastive_weight=float(embeds), language_weight=1.0
    )
    dataset = StepDataset(measured(corpus(), recipe, builder.vocabulary), recipe, builder.vocabulary)
    rows = [row for row in dataset.global_rows(dataset.draw(0), 0) if row.pixels]
    bare_context = 2 + 4 + len(builder.vocabulary.encode(f"\n{cue}"))
    assert rows and all((row.sequence.roles == Role.CONTEXT).sum() >= bare_context for row in rows)
    shortened = [int((row.sequence.roles == Role.CONTEXT).sum()) == bare_context for row in rows]
    assert all(shortened) if bare and not embeds else not any(shortened)


@pytest.mark.parametrize("embeds", [True, False])
def test_hard_negatives_are_asked_their_own_dialogue(builder: SequenceBuilder, embeds: bool) -> None:
    """CoMa compresses the pictures of queries, positives and hard negatives alike; each has the turns that are its own."""
    sides = ("query", "positive", "negatives")
    mixture = replace(small_recipe().phase.mixture, outside=0, own_sides=sides)
    given = {"layout": COMA, "target": Dialogue(), "mixture": mixture, "negatives": InFile(most=2), "language_weight": 1.0}
    recipe = small_recipe(**given, contrastive_weight=float(embeds))
    dataset = StepDataset(measured(corpus(), recipe, builder.vocabulary), recipe, builder.vocabulary)
    draw, plan = dataset.draw(0), dataset.plan(dataset.draw(0), 0)
    asked = [side for side in plan.sides if side.side_index >= 2]
    there = sum(min(2, len(dataset.corpus.index.read(row).negatives)) for row in draw.pairs)
    assert len(asked) == there > 2 and all(side.asks and (side.slot >= 0) == embeds for side in asked)
    for side, row in zip(plan.sides, dataset.global_rows(draw, 0), strict=True):
        sample = dataset.corpus.index.read(side.row)
        turns = dataset.corpus.qa.turns(sample.dataset, sample.key, side.name)
        answers = [token for turn in turns for token in (*builder.vocabulary.encode(turn.answer), builder.vocabulary.im_end)]
        assert row.sequence.input_ids[row.sequence.roles == Role.ANSWER].tolist() == answers
        assert len(row.pixels) == len(sample.sides[side.side_index].images)


@pytest.mark.parametrize(
    ("target", "most", "message"),
    [
        (Dialogue(), 0, r"mixture\.own_sides: asks the negatives, and negatives\.most is 0"),
        (OwnQuestions(), 1, r"mixture\.own_sides: OwnQuestions has nothing to say about negatives; take Dialogue"),
        (OtherSide(), 1, r"mixture\.own_sides: OtherSide has nothing to say about negatives"),
    ],
)
def test_negatives_are_asked_only_what_can_be_said_of_them(target: Target, most: int, message: str) -> None:
    mixture = replace(small_recipe().phase.mixture, own_sides=("negatives",))
    with pytest.raises(ConfigError, match=message):
        small_recipe(mixture=mixture, target=target, negatives=InFile(most=most))


def test_what_is_compared_stands_line_by_line_and_the_question_in_a_line_of_its_own() -> None:
    """Nothing stands between a context and its question: without the last label the last candidate's words would run into it."""
    query = Side(instruction="Find it: ", text="a ring", images=(b"q",))
    alone = Relevance().compared(query, [Side(text="cyan ring")])
    assert alone.text == "Query:\n<|image_1|>Find it: a ring\nCandidate:\ncyan ring\nQuestion:"
    listed = Relevance().compared(query, [Side(images=(b"a",)), Side(text="b")])
    assert listed.text == "Query:\n<|image_1|>Find it: a ring\nCandidate 1:\n<|image_2|>\nCandidate 2:\nb\nQuestion:"
    assert listed.images == (b"q", b"a")
