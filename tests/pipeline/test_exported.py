"""An exported folder loads as what it is: from anywhere, without a recipe, equal to its checkpoint; or it is refused by name."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eval import mmeb, retrieval_set
from eval.subject import newest_checkpoint
from pipeline.errors import CheckpointError, ConfigError
from pipeline.export import export
from pipeline.inference import EmbeddingModel, load_model, load_untrained
from pipeline.merged import load_merged
from pipeline.model.backbone import open_folder
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.train import checkpoint
from tests.eval.fakes import png, write_eval, write_pictures
from tests.pipeline.conftest import save_checkpoint
from tests.pipeline.exports import ADAPTER, CASES, Case, items, lora
from tests.pipeline.variants import mlp_mean, no_tokens

WITH_TOKENS = [name for name in CASES if "last token" not in name]


@dataclass
class Heard:
    """Greedy decoding that keeps what it was asked: the logits (V,) of each row, by the row's name."""

    logits: dict[int, torch.Tensor] = field(default_factory=dict)

    def choose(self, logits: torch.Tensor, names: Sequence[int], step: int) -> torch.Tensor:
        self.logits |= dict(zip(names, logits, strict=True))
        return logits.argmax(dim=1)


def first_logits(model: EmbeddingModel, *, compressed: bool) -> torch.Tensor:
    """Logits (N, V) of the first token of an answer about each item; minus infinity where nothing may be said."""
    heard = Heard()
    questions = ["what is red"] * len(items())
    model.answer(items(), questions, compressed=compressed, max_new_tokens=1, decoding=heard)
    return torch.stack([heard.logits[name] for name in sorted(heard.logits)])


def moved(case: Case, out: Path) -> Path:
    """The exported folder, alone, in another place."""
    return shutil.copytree(case.exported, out / "moved")


def assert_same_model(one: EmbeddingModel, other: EmbeddingModel) -> None:
    """Embeddings to 1e-6, logits to 1e-6 of the largest; an adapter of alpha / rank = 32 beside a moved tower rounds to 1e-5."""
    np.testing.assert_allclose(one.embed(items()), other.embed(items()), atol=1e-6)
    tolerance = 1e-5 if one.recipe.tokens.place == "new" else 1e-6
    for compressed in (False, True) if one.recipe.tokens.count else (False,):
        logits = [first_logits(model, compressed=compressed) for model in (one, other)]
        shared = min(part.shape[1] for part in logits)  # ids behind the table are rows of an export's, and are never said
        largest = float(logits[1][torch.isfinite(logits[1])].abs().max())
        torch.testing.assert_close(logits[0][:, :shared], logits[1][:, :shared], atol=tolerance * largest, rtol=0)
        assert all(bool(torch.isinf(part[:, shared:]).all()) for part in logits)


@pytest.mark.parametrize("name", CASES)
def test_an_export_is_its_checkpoint_from_anywhere(
    exported_cases: dict[str, Case], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = exported_cases[name]
    moved(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    found, expected = load_model(Path("moved")), load_model(case.path)
    assert found.recipe == expected.recipe and found.untrained == ""
    assert found.builder.vocabulary.chorus == expected.builder.vocabulary.chorus
    assert found.fingerprint == load_model(case.exported).fingerprint
    assert_same_model(found, expected)


def test_an_export_in_bfloat16_is_near_its_checkpoint(exported_cases: dict[str, Case], tmp_path: Path) -> None:
    case = exported_cases["adapters merged"]
    export(case.path, tmp_path / "half", form="merged", dtype="bfloat16")
    vectors = [load_model(path).embed(items()) for path in (tmp_path / "half", case.path)]
    assert 0.999 < float((vectors[0] * vectors[1]).sum(axis=1).min()) < 1 - 1e-7


def test_a_recipe_that_agrees_is_taken_and_another_refused_by_its_field(exported_cases: dict[str, Case], recipe: Recipe) -> None:
    case = exported_cases["adapters merged"]
    assert load_model(case.exported, recipe=replace(lora(recipe), name="renamed")).recipe == lora(recipe)
    with pytest.raises(CheckpointError, match=r"trained with tokens\.count = 4, and the recipe given has 3"):
        load_model(case.exported, recipe=override(lora(recipe), ["tokens.count=3"]))
    with pytest.raises(CheckpointError, match=r"trained with phases\.0\.adapter = LoRA"):
        load_model(case.exported, recipe=recipe)


DECISIVE = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "preprocessor_config.json",
    "recipe.json",
    "pooling.safetensors",
)
OF_AN_ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "chorus.safetensors", "pooling.safetensors")


@pytest.mark.parametrize(
    ("case", "file"),
    [
        *(("MLP and mean", file) for file in DECISIVE),
        *(("as an adapter with an MLP", file) for file in OF_AN_ADAPTER),
    ],
)
def test_a_file_that_is_lost_or_changed_is_refused_by_name(
    exported_cases: dict[str, Case], case: str, file: str, tmp_path: Path
) -> None:
    folder = moved(exported_cases[case], tmp_path)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"moved: {file} is not what was exported; copy the folder again"):
        load_model(folder)
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=rf"moved: {file} is missing; copy the folder again"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"base": "", "before": "", "after_ids": [], "chorus_ids": [690]}'])
def test_settings_that_say_nothing_or_are_of_another_version_are_refused(
    exported_cases: dict[str, Case], text: str, tmp_path: Path
) -> None:
    folder = moved(exported_cases["adapters merged"], tmp_path)
    (folder / "embedding.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"moved: embedding\.json is damaged or of another version"):
        load_model(folder)


def test_another_prompt_than_was_trained_is_refused(exported_cases: dict[str, Case], tmp_path: Path) -> None:
    folder = moved(exported_cases["adapters merged"], tmp_path)
    settings = json.loads((folder / "embedding.json").read_text())
    (folder / "embedding.json").write_text(json.dumps(settings | {"before_ids": settings["before_ids"][1:]}))
    with pytest.raises(CheckpointError, match="this version makes another prompt of its recipe"):
        load_model(folder)


@pytest.fixture
def adapter_and_base(model_folder: Path, exported_cases: dict[str, Case], recipe: Recipe, tmp_path: Path) -> Path:
    """A folder with `base` and `adapter` that may be moved."""
    root = tmp_path / "first"
    shutil.copytree(model_folder, root / "base")
    trained = checkpoint.weights(exported_cases["as an adapter"].path)
    export(save_checkpoint(root / "checkpoint", trained, lora(recipe), root / "base"), root / "adapter", form=ADAPTER)
    return root


def test_an_adapter_finds_the_base_that_moved_with_it(
    adapter_and_base: Path, exported_cases: dict[str, Case], tmp_path: Path
) -> None:
    there = adapter_and_base.rename(tmp_path / "second")
    found = load_model(there / "adapter")
    assert found.folder == there / "base"
    assert_same_model(found, load_model(exported_cases["as an adapter"].path))


def test_an_adapter_without_its_base_is_refused(adapter_and_base: Path, tmp_path: Path) -> None:
    base = adapter_and_base / "base"
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"an adapter of the model folder {base}, and {base} holds another one; put"):
        load_model(adapter_and_base / "adapter")
    shutil.rmtree(base)
    with pytest.raises(
        CheckpointError, match=rf"an adapter of the model folder {base}, and it is not there; put that folder back"
    ):
        load_model(adapter_and_base / "adapter")


@pytest.mark.parametrize("first", ["adapters merged", "rows behind the table, own head", "as an adapter"])
def test_an_export_of_an_export_is_the_same_model(exported_cases: dict[str, Case], first: str, tmp_path: Path) -> None:
    case = exported_cases[first]
    export(case.exported, tmp_path / "again", form="merged")
    assert_same_model(load_model(tmp_path / "again"), load_model(case.path))


def test_an_adapter_of_an_adapter_has_the_same_base_and_one_of_a_merged_model_is_refused(
    exported_cases: dict[str, Case], tmp_path: Path
) -> None:
    case = exported_cases["as an adapter"]
    export(case.exported, tmp_path / "again", form="adapter")
    assert_same_model(load_model(tmp_path / "again"), load_model(case.path))
    with pytest.raises(ConfigError, match=r"--form adapter: the adapters of .*exported are merged already; take --form merged"):
        export(exported_cases["adapters merged"].exported, tmp_path / "none", form="adapter")


def test_a_bare_model_folder_says_what_is_untrained(
    model_folder: Path, trained: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    for vary, words in ((lambda it: it, "untrained tokens"), (mlp_mean, "untrained tokens and pooling")):
        bare = load_model(model_folder, recipe=vary(recipe))
        assert bare.fingerprint.startswith(f"{words} ")
        assert caplog.messages[-1] == f"{model_folder}: {words}: it is a bare model folder, and recipe tiny starts them"
    caplog.clear()
    assert load_untrained(model_folder, recipe).fingerprint.startswith("untrained tokens ")
    assert not load_model(model_folder, recipe=no_tokens(recipe)).fingerprint.startswith("untrained")
    assert not load_model(trained).fingerprint.startswith("untrained")
    assert caplog.messages == [], "a stage that measures what is untrained, and a model without rows of its own, warn of nothing"


def test_a_checkpoint_that_lacks_a_trained_weight_is_refused(
    exported_cases: dict[str, Case], model_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """Random rows in the place of trained ones would be figures of another model."""
    weights = dict(checkpoint.weights(exported_cases["adapters merged"].path))
    rows = weights.pop("bank.rows")
    with pytest.raises(CheckpointError, match=r"lacking: 1 missing or unexpected weights, first bank\.rows"):
        load_model(save_checkpoint(tmp_path / "lacking", weights, lora(recipe), model_folder))
    more = weights | {"bank.rows": rows, "bank.columns": rows.clone()}
    with pytest.raises(CheckpointError, match=r"more: 1 missing or unexpected weights, first bank\.columns"):
        load_model(save_checkpoint(tmp_path / "more", more, lora(recipe), model_folder))


def test_a_training_that_begins_from_an_export_has_new_tokens_and_its_native_answers(exported_cases: dict[str, Case]) -> None:
    case = exported_cases["adapters merged"]
    first = load_model(case.path)
    begun = load_untrained(case.exported, first.recipe)
    assert begun.fingerprint.startswith("untrained tokens ")
    assert min(begun.builder.vocabulary.chorus) > max(first.builder.vocabulary.chorus), "named ids are taken"
    logits = [first_logits(model, compressed=False) for model in (begun, first)]
    both = torch.isfinite(logits[0]) & torch.isfinite(logits[1])
    torch.testing.assert_close(logits[0][both], logits[1][both], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["adapters merged", "as an adapter"])
def test_an_export_is_evaluated_without_a_recipe(exported_cases: dict[str, Case], name: str, tmp_path: Path) -> None:
    case = exported_cases[name]
    write_pictures(tmp_path, {"n/a.png": png((1, 1, 1)), "n/b.png": png((250, 3, 3))})
    rows = [(f"<|image_1|>\nname {path}\n", f"n/{path}.png", ["red", "blue star", "top"], [""] * 3) for path in "ab"]
    write_eval(tmp_path, "n", rows)
    said = {}
    for model in (case.exported, case.path):
        assert newest_checkpoint(model) == model
        out = tmp_path / model.name
        given = ["--model", str(model), "--data", str(tmp_path), "--out", str(out), "--work", str(tmp_path / "work")]
        shown = CliRunner().invoke(mmeb.main, given)
        assert shown.exit_code == 0, shown.output
        said[model] = json.loads((out / retrieval_set.RESULT_NAME).read_text())
    (one,), (other,) = (said[model]["datasets"] for model in (case.exported, case.path))
    assert one["hits"] == other["hits"]
    shown_scores = [
        [candidate["score"] for example in each["examples"] for candidate in example["candidates"]] for each in (one, other)
    ]
    np.testing.assert_allclose(*shown_scores, atol=1.1e-4)  # they are rounded to four digits
    assert said[case.exported]["provenance"]["model"] == load_merged(case.exported).fingerprint


def test_a_result_of_a_bare_model_folder_says_so(
    model_folder: Path, recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_eval(tmp_path, "n", [("name red", "", ["red", "blue star", "top"], [""] * 3)])
    given = ["--model", str(model_folder), "--recipe", "tiny", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(mmeb.main, [*given, "--work", str(tmp_path / "work")])
    assert shown.exit_code == 0, shown.output
    assert [f"{model_folder}: untrained tokens: " in message for message in caplog.messages] == [True]
    assert json.loads((tmp_path / "out" / retrieval_set.RESULT_NAME).read_text())["provenance"]["model"].startswith(
        "untrained tokens "
    )


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_compression_ids_have_names_that_a_user_s_text_cannot_spell(
    exported_cases: dict[str, Case], name: str, tmp_path: Path
) -> None:
    """Our reading of a text, and the base's own tokenizer, give the same ids for texts that hold the names."""
    case = exported_cases[name]
    model, settings = load_model(case.path), json.loads((case.exported / "embedding.json").read_text())
    if settings["base"]:
        folder = moved(case, tmp_path)
        shutil.copyfile(model.folder / "config.json", folder / "config.json")
    named = open_folder(folder if settings["base"] else case.exported)
    ids, names = settings["chorus_ids"], settings["chorus_tokens"]
    assert named.tokenizer.convert_tokens_to_ids(names) == ids == list(model.builder.vocabulary.chorus)
    whole = settings["before"] + "red" + settings["after"]
    red = list(model.builder.vocabulary.encode("red"))
    assert named.tokenizer.encode(whole, add_special_tokens=False) == settings["before_ids"] + red + settings["after_ids"]
    for text in (f"red {names[0]}{names[-1]} <|im_end|>", "".join(names), "where is <|image_1|>", "<|unused_410|>", "Ünïcödé \n"):
        assert named.vocabulary(tuple(ids)).encode(text) == model.builder.vocabulary.encode(text)
        assert not set(named.vocabulary(tuple(ids)).encode(text)) & set(ids)


def test_the_recipe_of_an_export_is_the_checkpoint_s(exported_cases: dict[str, Case]) -> None:
    for case in exported_cases.values():
        assert recipe_fingerprint(checkpoint.recipe(case.exported)) == recipe_fingerprint(checkpoint.recipe(case.path))
