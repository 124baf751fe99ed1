"""An exported folder gives the same embeddings to a program that has nothing of ours: the README's lines, run as they stand."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import DynamicCache

from pipeline.errors import ConfigError
from pipeline.export import Form, export
from pipeline.inference import EmbeddingModel, load_model
from pipeline.manifest import fingerprint
from pipeline.model.adapters import LoRA
from pipeline.recipe import Recipe
from pipeline.sample import Side
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder
from tests.pages import lines_between
from tests.pipeline.corpus import picture, sentence

BLOCKED = ("pipeline", "data_prep", "eval", "jobs", "launchers", "tests")
BEFORE = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

BLOCKED = {BLOCKED!r}
sys.meta_path.insert(0, Blocker())
"""
AFTER = """
import io
from PIL import Image

for text, encoded in json.loads(Path("items.json").read_text()):
    vector = embed(text, [Image.open(io.BytesIO(bytes.fromhex(one))) for one in encoded])
    print("vector", json.dumps(vector.tolist()))
ids = torch.tensor([tokenizer.encode("where is the red", add_special_tokens=False)])
with torch.no_grad():
    print("token", int(model.generate(ids, max_new_tokens=1, do_sample=False)[0, -1]))
print("imported", json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def items() -> list[Side]:
    """Text alone, a picture alone, both, a picture in mid-sentence, two without markers; over and under the limits."""
    rng = np.random.default_rng(9)
    return [
        Side(instruction="Represent the text: ", text=f" {sentence(rng)} <|im_end|>\n"),
        Side(images=(picture(rng, 84, 56),)),
        Side(instruction="<|image_1|>\nRepresent the given image.", text="\n what is red", images=(picture(rng, 300, 150),)),
        Side(text="where <|image_1|> is the star", images=(picture(rng, 20, 15),)),
        Side(text="what is red", images=(picture(rng, 56, 56), grey_png(57, 90))),
    ]


def grey_png(width: int, height: int) -> bytes:
    """A picture with a palette and one channel, as files in the wild have."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def adapted(model_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """A checkpoint of adapters and compression rows that have all moved."""
    recipe = replace(recipe, adapter=LoRA(rank=4, alpha=16), tower="frozen")
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    trained = {name: weight for name, weight in embedder.named_parameters() if weight.requires_grad}
    moved = {name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in trained.items()}
    assert {name.split(".")[-3] for name in moved if "lora" in name} == {"lora_A", "lora_B"}
    folder = tmp_path_factory.mktemp("adapted") / "step-00000002"
    state = checkpoint.State(
        step=2,
        recipe=recipe.name,
        recipe_fingerprint=fingerprint(recipe),
        data_fingerprint="",
        model_folder=str(model_folder),
        digests={},
    )
    checkpoint.save(folder, {name: weight.detach() for name, weight in moved.items()}, {}, state, "{}")
    return folder, recipe


def read_elsewhere(folder: Path) -> tuple[np.ndarray, int, set[str]]:
    """Embeddings, a generated token and the imported packages, by the README's lines in a process without our packages."""
    shown = [(side.instruction + side.text, [image.hex() for image in side.images]) for side in items()]
    (folder / "items.json").write_text(json.dumps(shown))
    program = BEFORE + lines_between("lines that read an export") + AFTER
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line.partition(" ") for line in done.stdout.splitlines()]
    vectors = np.array([json.loads(value) for name, _, value in said if name == "vector"])
    values = {name: json.loads(value) for name, _, value in said}
    return vectors, values["token"], set(values["imported"])


def next_token(model: EmbeddingModel) -> int:
    """The likeliest token after four words without any template, by the model itself."""
    ids = torch.tensor([list(model.builder.vocabulary.encode("where is the red"))])
    places = torch.arange(ids.shape[1])
    with torch.no_grad():
        states = model.embedder.backbone.proceed(ids, places[None], (places[:, None] >= places)[None, None], DynamicCache())
        logits = model.embedder.backbone.logits(states[0, -1])
    logits[list(model.builder.vocabulary.chorus)] = float("-inf")
    return int(logits.argmax())


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_another_program_makes_the_same_embeddings(adapted: tuple[Path, Recipe], form: Form, tmp_path: Path) -> None:
    path, recipe = adapted
    export(path, tmp_path / "exported", form=form, recipe=recipe)
    vectors, token, imported = read_elsewhere(tmp_path)
    model = load_model(path, recipe=recipe)
    expected = model.embed(items())
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.abs(expected @ expected.T - np.eye(5)).max() < 0.999, "the items must differ for this to show anything"
    assert token == next_token(model)
    assert not imported & set(BLOCKED)
    assert ("peft" in imported) == (form == "adapter")


def test_a_model_trained_whole_is_exported_whole(trained: Path, recipe: Recipe, tmp_path: Path) -> None:
    export(trained, tmp_path / "exported", form="merged", recipe=recipe)
    vectors, _, _ = read_elsewhere(tmp_path)
    np.testing.assert_allclose(vectors, load_model(trained, recipe=recipe).embed(items()), atol=1e-5)


def test_the_rows_stand_in_the_table_and_are_never_generated(adapted: tuple[Path, Recipe], tmp_path: Path) -> None:
    path, recipe = adapted
    out = tmp_path / "exported"
    export(path, out, form="merged", recipe=recipe, dtype="bfloat16")
    weights, rows = load_file(out / "model.safetensors"), checkpoint.weights(path)["bank.rows"]
    (table,) = [weight for name, weight in weights.items() if name.endswith("embed_tokens.weight")]
    chorus = json.loads((out / "embedding.json").read_text())["chorus_ids"]
    assert torch.equal(table[chorus], rows.bfloat16())
    assert not any("lora" in name or name.startswith("bank") for name in weights)
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert json.loads((out / "generation_config.json").read_text())["suppress_tokens"] == chorus
    assert "role_spans" not in (out / "config.json").read_text()
    assert not list(tmp_path.glob(".*")), "nothing is left aside"


def test_our_own_loader_reads_the_export_as_a_model_folder(adapted: tuple[Path, Recipe], tmp_path: Path) -> None:
    """A later phase may start from it: the same answers, natively, and new compression rows."""
    path, recipe = adapted
    export(path, tmp_path / "exported", form="merged", recipe=recipe)
    again = load_model(tmp_path / "exported", recipe=recipe)
    first = load_model(path, recipe=recipe)
    assert again.builder.vocabulary.chorus == first.builder.vocabulary.chorus
    questions = ["where", "what is red"]
    sides = items()[1:3]
    answers = [replace(model, decode=str).answer(sides, questions, compressed=False) for model in (again, first)]
    assert answers[0] == answers[1]


def test_an_export_never_takes_the_place_of_a_folder(adapted: tuple[Path, Recipe], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="mine: is there already; name a new folder"):
        export(adapted[0], tmp_path / "mine", form="merged", recipe=adapted[1])
    assert list((tmp_path / "mine").iterdir()) == []


def test_an_adapter_is_refused_where_more_than_adapters_is_trained(
    trained: Path, model_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--form adapter: recipe tiny trains all weights .*; take --form merged"):
        export(trained, tmp_path / "a", form="adapter", recipe=recipe)
    with_tower = replace(recipe, adapter=LoRA(rank=4), tower="trained")
    with pytest.raises(ConfigError, match=r"--form adapter: recipe tiny also trains .*visual.*; take --form merged"):
        export(model_folder, tmp_path / "a", form="adapter", recipe=with_tower)
    assert not (tmp_path / "a").exists()
