"""An exported folder in sentence-transformers: our vectors, or a clear error; never another model without a word."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.export import export
from pipeline.inference import load_model
from pipeline.sample import Side
from tests.conftest import require
from tests.pipeline.exports import BLOCKED, CASES, Case, items

PROGRAM = """
import io, json, sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

BLOCKED, CASES, REFUSED, HALF, ITEMS = json.load(sys.stdin)
sys.meta_path.insert(0, Blocker())
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

def shown(text, images):
    pictures = [Image.open(io.BytesIO(bytes.fromhex(one))) for one in images]
    if not pictures:
        return text
    if not text:
        return pictures[0]
    return {"text": text, "image": pictures if len(pictures) > 1 else pictures[0]}

def inputs():
    return [shown(text, images) for text, images in ITEMS]

def refusal(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def model_of(folder, **more):
    return SentenceTransformer(folder, trust_remote_code=True, device="cpu", **more)

said = {"cases": {}, "refused": {}}
for name, folder in CASES.items():
    model = model_of(folder)
    batch, single = model.encode(inputs(), batch_size=5), [model.encode(one).tolist() for one in inputs()]
    said["cases"][name] = {"batch": batch.tolist(), "single": single}

picture = inputs()[1]
picture.save("bird.png")
said["path"] = model.encode(["bird.png", {"image": "bird.png"}, picture]).tolist()
said["texts"] = model.encode([{"text": "bird.png"}, {"text": "red"}]).tolist()
said["prompted"] = model.encode(["red", {"text": "red", "image": picture}], prompt="Represent: ").tolist()
said["written"] = model.encode(["Represent: red", {"text": "Represent: red", "image": picture}]).tolist()
told = model_of(CASES["trained whole"])
given = ["red", {"text": "red", "image": picture}, picture, {"text": "is <|image_1|> red", "image": picture}]
said["told"] = {name: told.encode(given, prompt_name=name).tolist() for name in told.prompts}
said["asked"], said["found"] = told.encode_query(given).tolist(), told.encode_document(given).tolist()
said["dimension"] = model.get_embedding_dimension()
message = [{"role": "user", "content": "red"}]
wrong = {
    "message": [message, "red"],
    "markers": [{"text": "<|image_2|> red", "image": picture}],
    "no picture": ["<|image_1|> red"],
    "address": ["https://example.org/bird.png"],
    "video": [{"video": "bird.mp4"}],
    "two texts": [{"text": ["a", "b"]}],
}
said["wrong"] = {name: refusal(lambda: model.encode(given)) for name, given in wrong.items()}
said["save"] = refusal(lambda: model.save("saved"))
said["untrusted"] = {name: refusal(lambda: SentenceTransformer(folder, device="cpu")) for name, folder in CASES.items()}
for name, folder in REFUSED.items():
    said["refused"][name] = refusal(lambda: model_of(folder))
said["half"] = model_of(HALF, model_kwargs={"dtype": torch.float32}).encode(inputs()).tolist()
said["half as it is"] = model_of(HALF).encode(inputs()).tolist()
said["imported"] = sorted({name.split(".")[0] for name in sys.modules})
Path("said.json").write_text(json.dumps(said))
"""


def changed(case: Case, out: Path, file: str, change: Any) -> str:
    """A copy of an exported folder with one file of JSON changed; None deletes it."""
    folder = shutil.copytree(case.exported, out)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(change(json.loads((folder / file).read_text()))))
    return str(folder)


def refused_folders(cases: dict[str, Case], root: Path) -> dict[str, str]:
    """Folders that must not give vectors."""
    merged, adapter = cases["MLP and mean"], cases["as an adapter"]
    future = {"requirements": {"transformers": {"specifier": ">=99", "reason": "Because."}}}
    return {
        "old libraries": changed(merged, root / "old", "config_sentence_transformers.json", lambda it: it | future),
        "no pooling": changed(merged, root / "no_pooling", "pooling.safetensors", None),
        "other limits": changed(merged, root / "limits", "preprocessor_config.json", lambda it: it | {"max_pixels": 3136}),
        "no base": changed(adapter, root / "a" / "b" / "c", "embedding.json", lambda it: it | {"base": "/nowhere/model"}),
        "other base": changed(
            adapter, root / "other", "embedding.json", lambda it: it | {"base_files": {"config.json": "0" * 64}}
        ),
    }


@pytest.fixture(scope="module")
def said(exported_cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program says that has sentence-transformers and nothing of ours."""
    if importlib.util.find_spec("sentence_transformers") is None:
        require("sentence-transformers", "sentence-transformers is not installed (pip install '.[st]')")
    root = tmp_path_factory.mktemp("other")
    export(exported_cases["adapters merged"].path, root / "half", form="merged", dtype="bfloat16")
    folders = {name: str(case.exported) for name, case in exported_cases.items()}
    shown = [(side.instruction + side.text, [image.hex() for image in side.images]) for side in items()]
    words = json.dumps([BLOCKED, folders, refused_folders(exported_cases, root), str(root / "half"), shown])
    environment = {"HF_HOME": str(root / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, input=words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((root / "said.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_it_makes_our_vectors(said: dict[str, Any], exported_cases: dict[str, Case], name: str) -> None:
    expected = load_model(exported_cases[name].path).embed(items())
    for how in ("batch", "single"):
        np.testing.assert_allclose(said["cases"][name][how], expected, atol=1e-5, err_msg=how)
    assert (expected @ expected.T - np.eye(len(expected))).max() < 0.9999, "the items must differ for this to show anything"
    assert not set(said["imported"]) & {*BLOCKED, "torchvision"}


def test_bfloat16_gives_our_vectors_in_float32_and_near_ones_as_it_is(
    said: dict[str, Any], exported_cases: dict[str, Case], tmp_path: Path
) -> None:
    export(exported_cases["adapters merged"].path, tmp_path / "half", form="merged", dtype="bfloat16")
    expected = load_model(tmp_path / "half").embed(items())
    np.testing.assert_allclose(said["half"], expected, atol=1e-5)
    assert float((np.array(said["half as it is"]) * expected).sum(axis=1).min()) > 0.999


def test_a_path_is_a_picture_and_a_text_under_its_key_is_a_text(said: dict[str, Any]) -> None:
    np.testing.assert_allclose(said["path"][0], said["path"][2], atol=1e-6)
    np.testing.assert_allclose(said["path"][1], said["path"][2], atol=1e-6)
    assert np.dot(said["texts"][0], said["path"][0]) < 0.9999


def test_a_prompt_stands_before_the_text(said: dict[str, Any]) -> None:
    np.testing.assert_allclose(said["prompted"], said["written"], atol=1e-6)
    assert said["dimension"] == len(said["written"][0])


def test_prompts_are_the_instructions_of_training(said: dict[str, Any], exported_cases: dict[str, Case]) -> None:
    model, seen = load_model(exported_cases["trained whole"].exported), items()[1].images
    sides = [Side(text="red"), Side(text="red", images=seen), Side(images=seen), Side(text="is <|image_1|> red", images=seen)]
    expected = {
        name: model.embed([shown(side, dataset) for side in sides])
        for name, shown, dataset in (
            ("query", model.templates.query, "of my own"),
            ("document", model.templates.candidate, "of my own"),
            ("DocVQA-query", model.templates.query, "DocVQA"),
            ("DocVQA-document", model.templates.candidate, "DocVQA"),
        )
    }
    assert said["told"].keys() == expected.keys()
    for name, vectors in expected.items():
        np.testing.assert_allclose(said["told"][name], vectors, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(said["asked"], expected["query"], atol=1e-5)
    np.testing.assert_allclose(said["found"], expected["document"], atol=1e-5)
    assert abs(expected["query"] - expected["DocVQA-query"]).max() > 1e-3 < abs(expected["query"] - expected["document"]).max()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("message", "an input of kind 'message': give a text, a picture, or a dict of text and image"),
        ("markers", "1 pictures but markers [2] in a text"),
        ("no picture", "0 pictures but markers [1] in a text"),
        ("address", "a picture is a PIL image or the path of a file, and not 'https://example.org/bird.png'"),
        ("video", "video"),
        ("two texts", "the text of an input is one string"),
    ],
)
def test_inputs_that_the_model_does_not_know_are_refused(said: dict[str, Any], given: str, words: str) -> None:
    assert said["wrong"][given].startswith("ValueError: ") and words in said["wrong"][given]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("old libraries", "transformers>=99, but transformers==5.23.0 is installed. Because."),
        ("no pooling", "pooling.safetensors is missing or not what was exported"),
        ("other limits", "preprocessor_config.json is missing or not what was exported"),
        ("no base", "an adapter of the model folder /nowhere/model, which is not there; put it back, or at "),
        ("other base", "config.json is missing or not what was exported"),
    ],
)
def test_folders_that_are_not_what_was_exported_are_refused(said: dict[str, Any], folder: str, words: str) -> None:
    assert words in said["refused"][folder]


def test_without_trust_there_is_an_error_and_nothing_is_saved_untrained(said: dict[str, Any]) -> None:
    assert all("pass the argument `trust_remote_code=True`" in (error or "") for error in said["untrusted"].values())
    assert set(said["untrusted"]) == set(CASES)
    assert "an exported folder is not written again by this library; copy the folder" in said["save"]
