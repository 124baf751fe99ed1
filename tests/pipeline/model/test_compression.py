"""Compression tokens: their ids, their start, what of them and of the table is trained, and that they are never an answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pipeline.batch import Batch, pack
from pipeline.errors import ConfigError
from pipeline.inference import load_model
from pipeline.model.adapters import Full, LoRA
from pipeline.model.backbone import open_folder
from pipeline.model.compression import Chorus, TokenBank
from pipeline.model.embedder import Embedder
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.roles import Layout, Role
from pipeline.sample import Side
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from tests.pipeline.corpus import random_row, small_recipe

HEAD, TABLE = "backbone.model.lm_head.weight", "backbone.model.model.language_model.embed_tokens.weight"


def built(folder: Path, recipe: Recipe) -> tuple[Embedder, Batch]:
    """A model, and a batch of two rows with pictures, questions and answers."""
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
    rng = np.random.default_rng(0)
    rows = [random_row(builder, rng, slot=slot, num_images=1, num_turns=1) for slot in range(2)]
    return embedder, pack(rows, recipe.phase.layout, recipe.pooling.positions)


def gradients(folder: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Gradients of both losses by name: those of weights that are trained."""
    embedder, batch = built(folder, recipe)
    outputs = embedder(batch)
    (outputs.embeddings[0] @ outputs.embeddings[1] + outputs.token_losses.mean()).backward()
    return {name: parameter.grad for name, parameter in embedder.named_parameters() if parameter.grad is not None}


def test_spare_ids_follow_the_tokenizers_last_and_new_ids_the_tables(model_folder: Path) -> None:
    folder = open_folder(model_folder)
    known = len(folder.tokenizer)
    assert Chorus(count=16).ids(folder.vocab_size, known) == tuple(range(known, known + 16))
    with pytest.raises(ConfigError, match=r"tokens\.count: 65 tokens need spare rows"):
        Chorus(count=65).ids(folder.vocab_size, known)
    assert Chorus(count=65, place="new").ids(folder.vocab_size, known) == tuple(range(folder.vocab_size, folder.vocab_size + 65))


@pytest.mark.parametrize("start", ["eos", "mean", "random"])
def test_chorus_rows_start_distinct_near_their_centre(start: str) -> None:
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) + 3.0
    rows = Chorus(count=4, start=start).rows(table, range(46, 50), 7, torch.Generator().manual_seed(0))
    centre = {"eos": table[7], "mean": table.mean(0), "random": torch.zeros(8)}[start]
    assert rows.shape == (4, 8) and len(rows.unique(dim=0)) == 4
    assert float((rows - centre).abs().mean()) < (0.3 if start != "random" else 3.0)


@pytest.mark.parametrize(("start", "share"), [("eos", 0.1), ("mean", 0.1), ("random", 1.0)])
def test_noise_of_a_start_is_a_tenth_of_the_table_s_spread_or_all_of_it(start: str, share: float) -> None:
    """Of many rows, over a table whose spread (0.5) is not its mean (3)."""
    table = 0.5 * torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)) + 3.0
    rows = Chorus(count=4000, start=start).rows(table, range(4000), 7, torch.Generator().manual_seed(1))
    centre = {"eos": table[7], "mean": table.mean(0), "random": torch.zeros(8)}[start]
    assert float((rows - centre).std()) == pytest.approx(share * 0.5, rel=0.03)
    torch.testing.assert_close(rows.mean(0), centre, atol=0.05 * share, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": -1}, r"tokens\.count: -1 is negative"),
        ({"start": "zero"}, r"tokens\.start: 'zero' is not one of eos, mean, random, spare"),
        ({"trained": "all"}, r"tokens\.trained: 'all' is not one of rows, table, none"),
        ({"noise": -0.1}, r"tokens\.noise: -0\.1 is less than 0"),
        ({"start": "spare", "place": "new"}, r"tokens\.start: new rows are no spare ones"),
        ({"place": "old"}, r"tokens\.place: 'old' is not one of spare, new"),
    ],
)
def test_settings_that_are_none_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Chorus(**fields)


def test_the_bank_replaces_its_ids_and_asks_the_table_for_none_of_them() -> None:
    bank = TokenBank(torch.tensor([[10.0, 11.0], [20.0, 21.0]]), first_id=5)
    ids = torch.tensor([4, 5, 6, 1, 5])
    assert bank.table_ids(ids).tolist() == [4, 0, 0, 1, 0]
    table = torch.arange(10.0).reshape(5, 2)  # 5 and 6 are no rows of it
    assert bank(ids, table[bank.table_ids(ids)]).tolist() == [[8, 9], [10, 11], [20, 21], [2, 3], [10, 11]]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("trained", ["rows", "table", "none"])
@pytest.mark.parametrize("adapter", [Full(), LoRA(rank=2, alpha=8)])
def test_which_weights_have_gradients(
    model_folder: Path, untied_folder: Path, adapter: Full | LoRA, trained: str, tied: bool
) -> None:
    recipe = replace(small_recipe(), tokens=Chorus(count=4, trained=trained)).with_phase(adapter=adapter)
    found = gradients(model_folder if tied else untied_folder, recipe)
    full = isinstance(adapter, Full)
    assert ("bank.rows" in found) == (trained != "none")
    assert (TABLE in found) == (full or trained == "table")
    assert (HEAD in found) == (full and not tied)  # a tied head is the table: one weight under the table's name
    others = {name for name in found if name not in (HEAD, TABLE, "bank.rows") and "visual" not in name}
    assert others and (full or all("lora_" in name for name in others))
    moving = {name for name in found if "lora_A" not in name}  # B starts at zero, so A's first gradient is zero
    assert all(float(found[name].abs().max()) > 0 for name in moving)


@pytest.mark.parametrize("place", ["spare", "new"])
def test_training_the_rows_moves_no_output_and_the_tables_own_rows_stay_unread(model_folder: Path, place: str) -> None:
    """The input side of the tokens' ids is the bank's alone, and no answer asks for one of them."""
    recipe = replace(small_recipe(), tokens=Chorus(count=4, place=place))
    embedder, batch = built(model_folder, recipe)
    assert isinstance(embedder.bank, TokenBank)
    assert not set(batch.score_target.tolist()) & set(embedder.bank.ids)
    embedder(batch).embeddings.sum().backward()
    table = embedder.backbone.text.embed_tokens.weight.grad
    assert table is not None and embedder.bank.rows.grad is not None
    spare = table[len(open_folder(model_folder).tokenizer) :]
    assert float(spare.abs().max()) == 0.0 and bool((embedder.bank.rows.grad.abs().amax(dim=1) > 0).all())


@pytest.mark.parametrize("place", ["spare", "new"])
def test_chorus_ids_are_never_chosen(model_folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that likes spare ids best still answers with words; new ids are no outputs at all."""
    recipe = replace(small_recipe(), tokens=Chorus(count=4, place=place))
    model = load_model(model_folder, recipe=recipe)
    opened = open_folder(model_folder)
    known = len(opened.tokenizer)
    plain = model.embedder.backbone.logits
    bonus = torch.zeros(opened.vocab_size)
    bonus[known : known + 4] = 100.0 if place == "spare" else 0.0
    monkeypatch.setattr(model.embedder.backbone, "logits", lambda hidden: plain(hidden) + bonus)
    chosen: list[list[int]] = []
    words = replace(model, decode=lambda ids: chosen.append(ids) or "")
    for compressed in (False, True):
        words.answer([Side(text="red star")], ["where"], compressed=compressed, max_new_tokens=5)
    assert (
        len(chosen) == 2 and any(chosen) and not {token for ids in chosen for token in ids} & set(model.builder.vocabulary.chorus)
    )


def test_rows_that_start_as_eos_stand_around_the_tokenizer_s_own_end_token(model_folder: Path) -> None:
    """The id is looked up in the tokenizer's files, and of all rows of the table its one must be the nearest."""
    end = json.loads((model_folder / "tokenizer_config.json").read_text())["eos_token"]
    known = json.loads((model_folder / "tokenizer.json").read_text())["added_tokens"]
    (eos,) = [token["id"] for token in known if token["content"] == end]
    embedder, _ = build_embedder(model_folder, replace(small_recipe(), tokens=Chorus(count=16, start="eos")), dtype=torch.float32)
    nearest = torch.cdist(embedder.bank.rows, embedder.backbone.text.embed_tokens.weight).argmin(dim=1)
    assert nearest.tolist() == [eos] * 16


@pytest.mark.parametrize("start", ["eos", "spare"])
def test_rows_without_noise_are_rows_of_the_table_bit_for_bit(model_folder: Path, start: str) -> None:
    """Copies of EOS, or what the table has behind the tokenizer's last id; the table is read from the file itself."""
    with safe_open(model_folder / "model.safetensors", "pt") as file:
        (name,) = (name for name in file.keys() if name.endswith("embed_tokens.weight"))  # noqa: SIM118
        table = file.get_tensor(name)
    tokenizer = json.loads((model_folder / "tokenizer.json").read_text())
    known = 1 + max(*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"]))
    end = json.loads((model_folder / "tokenizer_config.json").read_text())["eos_token"]
    (eos,) = [token["id"] for token in tokenizer["added_tokens"] if token["content"] == end]
    expected = {"eos": table[eos].expand(4, -1), "spare": table[known : known + 4]}[start]
    recipe = replace(small_recipe(), tokens=Chorus(count=4, start=start, noise=0.0))
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    assert torch.equal(embedder.bank.rows, expected.float())


def test_new_rows_embed_as_spare_rows_do(model_folder: Path) -> None:
    """Where the ids lie changes nothing: the same rows give the same embedding."""
    models = [
        load_model(model_folder, recipe=replace(small_recipe(), tokens=Chorus(count=4, place=place)))
        for place in ("spare", "new")
    ]
    spare, new = (model.embed([Side(text="red circle"), Side(text="blue star top")]) for model in models)
    np.testing.assert_array_equal(spare, new)


LAYOUT = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))


def no_tokens() -> Recipe:
    """Pooled from the context's last token: no compression tokens anywhere."""
    recipe = small_recipe()
    return replace(
        recipe, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=(replace(recipe.phase, layout=LAYOUT),)
    )


def test_count_and_layout_must_agree() -> None:
    with pytest.raises(ConfigError, match=r"tokens\.count: 0; a layout with COMPRESSION"):
        replace(small_recipe(), tokens=Chorus(count=0))
    with pytest.raises(ConfigError, match=r"tokens\.count: 4, and layout\.order has no COMPRESSION"):
        replace(no_tokens(), tokens=Chorus(count=4))


def test_without_tokens_a_model_embeds_and_answers_natively_only(model_folder: Path) -> None:
    recipe = no_tokens()
    model = load_model(model_folder, recipe=recipe)
    assert not any("bank" in name for name, _ in model.embedder.named_parameters())
    sides = [Side(text="red circle"), Side(text="blue star top left")]
    together, alone = model.embed(sides), np.concatenate([model.embed([side]) for side in sides])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(model.answer(sides, ["where", "what"], compressed=False, max_new_tokens=3)) == 2
    with pytest.raises(ConfigError, match=r"tokens\.count: recipe tiny has no compression tokens to answer from"):
        model.answer(sides, ["where", "what"], compressed=True)
