"""An exported folder gives the same embeddings to a program that has nothing of ours: the documented lines, run as they stand."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, DynamicCache

from pipeline.errors import ConfigError
from pipeline.export import Form, export
from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.adapters import LoRA
from pipeline.recipe import Recipe
from pipeline.train import checkpoint
from tests.pages import lines_between
from tests.pipeline.exports import ADAPTER, BLOCKED, CASES, MERGED, Case, items, save_moved
from tests.pipeline.recipes_at_random import HeadAlone, WeighedMean
from tests.pipeline.variants import mlp_mean, still_rows_at_new_ids, whole_table_under_lora

PROGRAM = """
import io, json, os, sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

BLOCKED, CASES, ITEMS, LINES = json.load(sys.stdin)
sys.meta_path.insert(0, Blocker())
from PIL import Image

for case in CASES:
    os.chdir(case)
    there = {}
    exec(compile(LINES, "export.md", "exec"), there)
    torch = there["torch"]
    vectors = [there["embed"](text, [Image.open(io.BytesIO(bytes.fromhex(one))) for one in images]) for text, images in ITEMS]
    ids = torch.tensor([there["tokenizer"].encode("where is the red", add_special_tokens=False)])
    with torch.no_grad():
        token = int(there["model"].generate(ids, max_new_tokens=1, do_sample=False)[0, -1])
    imported = sorted({name.split(".")[0] for name in sys.modules})
    said = {"vectors": [vector.tolist() for vector in vectors], "token": token, "imported": imported}
    (Path(case) / "said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def cases(exported_cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """All cases read by one other process: adapters last, so that PEFT is seen to come in there."""
    shown = [(side.instruction + side.text, [image.hex() for image in side.images]) for side in items()]
    folders = [str(case.exported.parent) for case in exported_cases.values()]
    words = json.dumps([BLOCKED, folders, shown, lines_between("lines that read an export")])
    root = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, input=words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return exported_cases


@pytest.mark.parametrize("name", CASES)
def test_another_program_makes_the_same_embeddings(cases: dict[str, Case], name: str) -> None:
    said = cases[name].said()
    expected = load_model(cases[name].path).embed(items())
    np.testing.assert_allclose(said["vectors"], expected, atol=1e-5)
    assert (expected @ expected.T - np.eye(len(expected))).max() < 0.9999, "the items must differ for this to show anything"
    assert not set(said["imported"]) & {*BLOCKED, "deepspeed", "mlflow"}
    assert ("peft" in said["imported"]) == (CASES[name][0] == ADAPTER)


def test_exported_picture_limits_are_the_recipe_s(cases: dict[str, Case], recipe: Recipe) -> None:
    """Under both names that readers know: one of them alone would be read from the model folder by the other half."""
    found = json.loads((cases["adapters merged"].exported / "preprocessor_config.json").read_text())
    least, most = recipe.pixels.min_tokens * 28 * 28, recipe.pixels.max_tokens * 28 * 28
    assert (found["min_pixels"], found["max_pixels"]) == (least, most)
    assert found["size"] == {"shortest_edge": least, "longest_edge": most}


def next_token(model: EmbeddingModel) -> int:
    """The likeliest token after four words without any template, by the model itself; never a compression token."""
    ids = torch.tensor([list(model.builder.vocabulary.encode("where is the red"))])
    places = torch.arange(ids.shape[1])
    with torch.no_grad():
        states = model.embedder.backbone.proceed(ids, places[None], (places[:, None] >= places)[None, None], DynamicCache())
        logits = model.embedder.backbone.logits(states[0, -1])
    logits[[token for token in model.builder.vocabulary.chorus if token < len(logits)]] = float("-inf")
    return int(logits.argmax())


@pytest.mark.parametrize("name", [name for name, (form, _, _) in CASES.items() if form == MERGED])
def test_another_program_generates_the_same_token(cases: dict[str, Case], name: str) -> None:
    assert cases[name].said()["token"] == next_token(load_model(cases[name].path))


def test_the_rows_stand_in_the_table_and_are_never_generated(cases: dict[str, Case], tmp_path: Path) -> None:
    case, out = cases["adapters merged"], tmp_path / "exported"
    export(case.path, out, form="merged", dtype="bfloat16")
    weights, rows = load_file(out / "model.safetensors"), checkpoint.weights(case.path)["bank.rows"]
    (table,) = [weight for name, weight in weights.items() if name.endswith("embed_tokens.weight")]
    chorus = json.loads((out / "embedding.json").read_text())["chorus_ids"]
    assert torch.equal(table[chorus], rows.bfloat16())
    assert not any("lora" in name or name.startswith("bank") for name in weights)
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert json.loads((out / "generation_config.json").read_text())["suppress_tokens"] == chorus
    assert "role_spans" not in (out / "config.json").read_text()
    assert not list(tmp_path.glob(".*")), "nothing is left aside"


def test_weights_of_a_pooling_are_exported(model_folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    path = save_moved(tmp_path / "checkpoint", model_folder, mlp_mean(recipe))
    export(path, tmp_path / "exported", form="merged")
    found, said = load_file(tmp_path / "exported" / "pooling.safetensors"), checkpoint.weights(path)
    assert {f"pooling.{name}" for name in found} == {name for name in said if name.startswith("pooling.")} != set()
    assert all(torch.equal(weight, said[f"pooling.{name}"]) for name, weight in found.items())
    assert json.loads((tmp_path / "exported" / "embedding.json").read_text())["pooling"] == "MLPMean"


def test_chat_templates_come_along(cases: dict[str, Case], model_folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    """That of the tokenizer, and the older file that processors read."""
    templates = [
        AutoTokenizer.from_pretrained(folder).chat_template for folder in (model_folder, cases["as an adapter"].exported)
    ]
    assert templates[0] == templates[1] and templates[0]
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / "chat_template.json").write_text("{}")
    export(tmp_path / "model", tmp_path / "exported", form="merged", recipe=recipe)
    assert (tmp_path / "exported" / "chat_template.json").read_text() == "{}"


def test_an_export_never_takes_the_place_of_a_folder(cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases["adapters merged"]
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="mine: is there already; name a new folder"):
        export(case.path, tmp_path / "mine", form="merged")
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("form", [MERGED, ADAPTER])
def test_a_pooling_of_a_users_own_is_refused(model_folder: Path, recipe: Recipe, tmp_path: Path, form: Form) -> None:
    """Other programs would pool as something else without a word."""
    own = replace(recipe.with_phase(adapter=LoRA(rank=2)), pooling=WeighedMean())
    with pytest.raises(
        ConfigError, match=r"pooling: WeighedMean is of your own, .* know MeanOver, MLPMean, .* use the checkpoint"
    ):
        export(model_folder, tmp_path / "mine", form=form, recipe=own)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (lambda recipe: recipe, "trains all weights"),
        (lambda recipe: recipe.with_phase(adapter=HeadAlone()), "trains other weights than LoRA's"),
        (lambda recipe: recipe.with_phase(adapter=LoRA(rank=4)), r"also trains .*visual"),
        (whole_table_under_lora, r"also trains .*embed_tokens"),
        (lambda recipe: still_rows_at_new_ids(recipe).with_phase(tower="frozen"), "puts its tokens behind the table's last row"),
    ],
)
def test_an_adapter_is_refused_where_it_could_not_hold_everything(
    model_folder: Path, recipe: Recipe, tmp_path: Path, vary: Callable[[Recipe], Recipe], words: str
) -> None:
    with pytest.raises(ConfigError, match=rf"--form adapter: recipe tiny {words}.*; take --form merged"):
        export(model_folder, tmp_path / "a", form="adapter", recipe=vary(recipe))
    assert list(tmp_path.iterdir()) == []
