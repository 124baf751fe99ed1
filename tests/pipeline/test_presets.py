"""Published models read as their own programs read them: rows worked by hand, and the model's own forward pass over these."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForImageTextToText, AutoTokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from data_prep import tiny_model
from pipeline.encode.workload import Workload
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.foreign import ForeignModel, load_foreign
from pipeline.model.backbone import open_folder
from pipeline.presets import GME, PLAIN, PRESETS, QWEN3_VL_EMBEDDING, VLM2VEC_V2, Preset, preset_of
from pipeline.sample import Side
from tests.eval.fakes import png
from tests.pipeline.corpus import SMALL, TEXTS

PICTURE = png((200, 30, 30), (56, 84))
"""Two visual tokens wide, three high, of 28 pixels and of 32."""
PAD = "<|image_pad|>"
BLOCK = f"<|vision_start|>{PAD * 6}<|vision_end|>"
SHOWN = Side(instruction="<|image_1|>\nFind a picture of: ", text="red square\n", images=(PICTURE,))
ASKED = Side(instruction="Find a picture of: ", text="red square\n")


def chat(system: str, user: str) -> str:
    head = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
    return f"{head}{user}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"


HELPFUL, REPRESENT = "You are a helpful assistant.", "Represent the user's input."
NAMING = Side(instruction="<|image_1|>\nIdentify the object shown in the image\n", images=(PICTURE,))
ROWS: dict[str, tuple[Preset, str, Side, str, str]] = {
    # preset, set, the side as read, its prompt as a query, as a candidate
    "vlm2vec text": (VLM2VEC_V2, "NIGHTS", ASKED, "Find a picture of: red square\n", "Find a picture of: red square\n"),
    "vlm2vec picture": (
        VLM2VEC_V2,
        "CIRR",
        SHOWN,
        f"{PAD * 6}\nFind a picture of: red square\n",
        f"{PAD * 6}\nFind a picture of: red square\n",
    ),
    "vlm2vec picture for pictures, alone": (
        VLM2VEC_V2,
        "NIGHTS",
        Side(instruction="<|image_1|>\nRepresent the given image.", images=(PICTURE,)),
        f"{PAD * 6}\nRepresent the given image.\n",
        f"{PAD * 6}\nRepresent the given image.",
    ),
    "vlm2vec picture for texts, alone": (
        VLM2VEC_V2,
        "VisDial",
        Side(instruction="<|image_1|>\nRepresent the given image.", images=(PICTURE,)),
        f"{PAD * 6}\nRepresent the given image.\n\n",
        f"{PAD * 6}\nRepresent the given image.\n",
    ),
    "vlm2vec label": (VLM2VEC_V2, "ImageNet-1K", Side(text="a cat"), "a cat\n", "a cat"),
    "vlm2vec marker without a picture": (
        VLM2VEC_V2,
        "WebQA",
        ASKED,
        f"{PAD}\nFind a picture of: red square\n",
        "Find a picture of: red square\n",
    ),
    "vlm2vec own set": (VLM2VEC_V2, "mine", Side(text="a cat"), "a cat", "a cat"),
    "gme text": (GME, "NIGHTS", ASKED, chat("Find a picture of:", "red square"), chat(HELPFUL, "red square")),
    "gme picture": (GME, "CIRR", SHOWN, chat("Find a picture of:", f"{BLOCK}red square"), chat(HELPFUL, f"{BLOCK}red square")),
    "gme without an instruction": (GME, "mine", Side(text="a cat"), chat(HELPFUL, "a cat"), chat(HELPFUL, "a cat")),
    "qwen3 text": (
        QWEN3_VL_EMBEDDING,
        "NIGHTS",
        ASKED,
        chat("Find a picture of:", "red square"),
        chat(REPRESENT, "red square"),
    ),
    "qwen3 picture and no words": (
        QWEN3_VL_EMBEDDING,
        "VOC2007",
        NAMING,
        chat("Identify the object shown in the image.", BLOCK),
        chat(REPRESENT, BLOCK),
    ),
    "qwen3 without an instruction": (
        QWEN3_VL_EMBEDDING,
        "mine",
        Side(text="a cat"),
        chat(REPRESENT, "a cat"),
        chat(REPRESENT, "a cat"),
    ),
    "plain": (PLAIN, "CIRR", SHOWN, *(f"{BLOCK}\nFind a picture of: red square<|im_end|>",) * 2),
}


@pytest.fixture(scope="module")
def folders(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of the family that a preset is for; Qwen3-VL's with patches of 16 pixels, as it is published."""
    folder, tower = tmp_path_factory.mktemp("tiny-3"), tiny_model._tower
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_model, "_tower", lambda spec: tower(spec) | {"patch_size": 16})
        patch.setattr(tiny_model, "_picture_settings", lambda spec: Qwen2VLImageProcessorPil(patch_size=16))
        tiny_model.build_tiny_model(folder, TEXTS, replace(SMALL, family="qwen3_vl"), seed=0)
    return {name: model_folder if "qwen2_vl" in preset.families else folder for name, preset in PRESETS.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, ForeignModel]:
    return {name: load_foreign(folders[name], preset) for name, preset in PRESETS.items()}


@pytest.mark.parametrize("name", ROWS)
def test_token_ids_are_the_prompt_s(name: str, models: dict[str, ForeignModel], folders: dict[str, Path]) -> None:
    """The whole prompt as one text, special tokens read as such, is what the published programs hand to their tokenizer."""
    preset, dataset, side, as_query, as_candidate = ROWS[name]
    tokenizer = AutoTokenizer.from_pretrained(folders[preset.name])
    reader = models[preset.name].reader
    for shown, prompt in ((preset.query(side, dataset), as_query), (preset.candidate(side, dataset), as_candidate)):
        row = reader.row(shown, slot=0).sequence
        assert tokenizer.decode(row.input_ids) == prompt
        assert row.input_ids.tolist() == tokenizer(prompt)["input_ids"]
        assert reader.reading(shown).tokens == len(row)


def test_the_end_that_a_published_tokenizer_adds_stands_once(folders: dict[str, Path], models: dict[str, ForeignModel]) -> None:
    """Qwen3-VL-Embedding's own program leaves its end token to its tokenizer, whose template puts it behind every text."""
    tokenizer = AutoTokenizer.from_pretrained(folders["qwen3_vl_embedding"])
    end = "<|endoftext|>"
    template = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))])
    tokenizer.backend_tokenizer.post_processor = template
    model = models["qwen3_vl_embedding"]
    vocabulary = replace(open_folder(folders["qwen3_vl_embedding"]), tokenizer=tokenizer).vocabulary(())
    side = QWEN3_VL_EMBEDDING.query(ASKED, "NIGHTS")
    row = replace(model.builder, vocabulary=vocabulary).build(side, np.zeros((0, 3)))
    assert row.input_ids.tolist() == tokenizer(chat("Find a picture of:", "red square").removesuffix(end))["input_ids"]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_words_are_those_of_the_side_in_both_roles(preset: Preset) -> None:
    """A query and a candidate of the same words differ in the system line alone."""
    for side in (ASKED, SHOWN, Side(text="a cat")):
        query, candidate = preset.query(side, "mine"), preset.candidate(side, "mine")
        assert (query.text, query.images) == (candidate.text, candidate.images)
        in_system = preset in (GME, QWEN3_VL_EMBEDDING)
        assert not candidate.instruction and bool(query.instruction) == (in_system and bool(side.instruction))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_embeddings_are_the_normed_last_state_of_the_model_s_own_pass(
    preset: Preset, models: dict[str, ForeignModel], folders: dict[str, Path]
) -> None:
    model, own = models[preset.name], AutoModelForImageTextToText.from_pretrained(folders[preset.name]).eval()
    sides = [preset.query(SHOWN, "CIRR"), preset.candidate(SHOWN, "CIRR"), preset.query(ASKED, "NIGHTS")]
    together = model.embed_batch(model.reader.batch(sides))
    for side, embedding in zip(sides, together, strict=True):
        np.testing.assert_allclose(embedding, own_embedding(own, model, side), atol=1e-5)


def own_embedding(own: Any, model: ForeignModel, side: Side) -> np.ndarray:
    """By transformers alone, one row: its own positions, or 0, 1, 2, ... where the preset counts."""
    row = model.reader.row(side, slot=0)
    ids = torch.from_numpy(row.sequence.input_ids)[None]
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if side.images:
        pixels = model.embedder.cutter(torch.from_numpy(np.stack(row.pixels)))
        given |= {"pixel_values": pixels, "image_grid_thw": torch.from_numpy(row.sequence.grid_thw)}
        given["mm_token_type_ids"] = (ids == own.config.image_token_id).int()
    if PRESETS[model.recipe.name.removeprefix("preset_")].positions == "count":
        given["position_ids"] = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.no_grad():
        state = own.model(**given).last_hidden_state[0, -1]
    return np.asarray(torch.nn.functional.normalize(state, dim=-1))


def test_pictures_are_shown_by_the_folder_s_own_patches(models: dict[str, ForeignModel]) -> None:
    """A token of Qwen3-VL is 32 pixels square, and at most 1,800 of them are seen."""
    reader, large = models["qwen3_vl_embedding"].reader, Side(images=(png((1, 2, 3), (1700, 1500)),))
    assert reader.reading(Side(images=(PICTURE,))).shown == ((96, 64),)
    ((height, width),) = reader.reading(large).shown
    assert (height % 32, width % 32) == (0, 0) and 1700 < height * width // 32**2 <= 1800


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Find it", "Find it."),
        ("Find it.", "Find it."),
        ("Find it:", "Find it:"),
        ("找到它。", "找到它。"),
        ("1 + 1 =", "1 + 1 =."),
    ],
)
def test_an_instruction_ends_as_a_sentence(line: str, shown: str) -> None:
    assert QWEN3_VL_EMBEDDING.query(Side(instruction=f" {line}\n", text="x"), "mine").instruction == shown
    assert GME.query(Side(instruction=line, text="x"), "mine").instruction == line


def test_one_text_under_two_system_lines_is_two_embeddings(models: dict[str, ForeignModel]) -> None:
    sides = [Side(instruction="a", text="b"), Side(text="ab"), Side(instruction="a", text="b"), Side(instruction="ab")]
    work = Workload.of(models["gme"].reader, sides)
    assert len(work.keys) == 3 and work.rows[0] == work.rows[2]


def test_another_preset_is_another_model(models: dict[str, ForeignModel], model_folder: Path) -> None:
    for names in ([each.fingerprint for each in models.values()], [each.encoder_fingerprint for each in models.values()]):
        assert len(set(names)) == len(PRESETS)
    reworded = load_foreign(model_folder, replace(GME, system="You are of no help."))
    assert reworded.encoder_fingerprint != models["gme"].encoder_fingerprint
    smaller = load_foreign(model_folder, replace(PLAIN, max_tokens=64))
    assert smaller.fingerprint != models["plain"].fingerprint
    assert smaller.encoder_fingerprint == models["plain"].encoder_fingerprint, "sizes are looked at picture by picture"


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("older", [False, True])
def test_an_adapter_is_merged(dora: bool, older: bool, model_folder: Path, tmp_path: Path) -> None:
    """Against PEFT's own forward pass over the unmerged adapter, under names of today and of before transformers 4.52."""
    own = adapted(model_folder, tmp_path, dora=dora)
    if older:
        tensors = load_file(tmp_path / "adapter_model.safetensors")
        named = {name.replace("model.language_model.layers", "model.layers"): value for name, value in tensors.items()}
        assert set(named) != set(tensors)
        save_file(named, tmp_path / "adapter_model.safetensors")
    model, bare = load_foreign(tmp_path, VLM2VEC_V2, base=model_folder), load_foreign(model_folder, VLM2VEC_V2)
    side = VLM2VEC_V2.query(SHOWN, "CIRR")
    (found,) = model.embed_batch(model.reader.batch([side]))
    np.testing.assert_allclose(found, own_embedding(own.base_model.model, model, side), atol=1e-5)
    (without,) = bare.embed_batch(bare.reader.batch([side]))
    assert np.abs(found - without).max() > 1e-3
    assert model.fingerprint != bare.fingerprint


def adapted(model_folder: Path, folder: Path, *, dora: bool) -> Any:
    """A PEFT model with random adapters, saved to a folder, with one layer of a rank and an alpha of its own."""
    own = Qwen2VLForConditionalGeneration.from_pretrained(model_folder).eval()
    config = LoraConfig(
        r=4, lora_alpha=8, use_dora=dora, target_modules=["q_proj", "down_proj"], rank_pattern={"layers.1.self_attn.q_proj": 2}
    )
    peft = get_peft_model(own, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    peft.save_pretrained(folder)
    return peft.eval()


def test_what_is_no_such_folder_is_one_line(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--preset gm: there are vlm2vec_v2, qwen3_vl_embedding, gme, plain"):
        preset_of("gm")
    with pytest.raises(ConfigError, match=r"is no adapter .* leave it out"):
        load_foreign(model_folder, GME, base=model_folder)
    with pytest.raises(CheckpointError, match="is a qwen2_vl model, and preset gme is for qwen9"):
        load_foreign(model_folder, replace(GME, families=("qwen9",)))
    (tmp_path / "embedding.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"brings its prompt; leave --preset out"):
        load_foreign(tmp_path, GME)


def test_an_adapter_that_does_not_fit_is_refused(model_folder: Path, tmp_path: Path) -> None:
    adapted(model_folder, tmp_path, dora=False)
    path, config = tmp_path / "adapter_model.safetensors", json.loads((tmp_path / "adapter_config.json").read_text())
    whole = load_file(path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"}))
    with pytest.raises(CheckpointError, match=r"an adapter of Qwen/Qwen2-VL-2B-Instruct, which is not there; .*--base"):
        load_foreign(tmp_path, VLM2VEC_V2)
    first, *others = sorted(whole)
    broken: dict[str, tuple[dict[str, torch.Tensor], str]] = {
        "a tensor is missing": ({name: whole[name] for name in others}, "is missing, or not of the model's shape"),
        "a tensor is foreign": (
            whole | {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": whole[first].clone()},
            "no place",
        ),
        "another kind of tensor": (
            whole | {"base_model.model.lm_head.weight": whole[first].clone()},
            "has no place in the model",
        ),
        "another shape": (whole | {first: whole[first][:, :-1].contiguous()}, "not of the model's shape"),
    }
    for tensors, complaint in broken.values():
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match=complaint):
            load_foreign(tmp_path, VLM2VEC_V2, base=model_folder)
    path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is damaged"):
        load_foreign(tmp_path, VLM2VEC_V2, base=model_folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no adapter_model\.safetensors; other forms of weights are not read"):
        load_foreign(tmp_path, VLM2VEC_V2, base=model_folder)
    for other in ({"peft_type": "IA3"}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | other))
        with pytest.raises(CheckpointError, match="only LoRA and DoRA without biases and further weights"):
            load_foreign(tmp_path, VLM2VEC_V2, base=model_folder)


def test_pictures_and_markers_must_match(models: dict[str, ForeignModel]) -> None:
    for name, text in (("vlm2vec_v2", "<|image_2|> a"), ("plain", "<|image_1|> a")):
        with pytest.raises(DataError, match="pictures but markers"):
            models[name].reader.reading(Side(text=text))


def test_text_cannot_smuggle_in_special_tokens(models: dict[str, ForeignModel]) -> None:
    pad = models["gme"].builder.vocabulary.image_pad
    for name, model in models.items():
        row = model.reader.row(Side(text=f"{PAD} a"), slot=0).sequence
        assert pad not in row.input_ids, name


def test_it_answers_nothing(models: dict[str, ForeignModel]) -> None:
    with pytest.raises(ConfigError, match="measured in retrieval alone"):
        models["gme"].answer([ASKED], ["what?"], compressed=False)
