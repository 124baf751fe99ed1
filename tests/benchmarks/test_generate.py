"""The benchmark of decoding: what it keeps is what a cache of so many tokens takes, and both kinds are decoded."""

import pytest

from benchmarks.generate import asked, measured, side_of, small_model
from pipeline.inference import EmbeddingModel
from pipeline.recipe import TinyBackbone
from pipeline.roles import Role


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    spec = TinyBackbone(hidden=32, layers=1, feed_forward=64, vocab_size=600, tower_dim=32, tower_layers=1)
    return small_model(tmp_path_factory.mktemp("model"), spec)


def test_contexts_have_their_length(model: EmbeddingModel) -> None:
    for context in (64, 256):
        found = int((model.reader.roles(side_of(model, context)) == Role.CONTEXT).sum())
        assert context <= found <= context + 4


def test_sizes_are_those_of_the_tokens_that_are_kept(model: EmbeddingModel) -> None:
    side = side_of(model, 64)
    roles = model.reader.roles(side)
    question = len(model.builder.question_ids("what is on the left of the picture"))
    config = model.embedder.backbone.model.config.get_text_config()
    width = config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * width * 4
    system = int((roles == Role.SYSTEM).sum())
    for compressed, kept in ((True, 16), (False, int((roles == Role.CONTEXT).sum()))):
        given = asked(model, side, compressed=compressed)
        assert given.bytes == token * (system + kept + question)
        assert given.rows(3).bytes == 3 * given.bytes


def test_every_case_has_a_line(model: EmbeddingModel) -> None:
    lines = list(measured(model, (32, 64), (1, 2), new_tokens=2, repeats=1))
    assert [(line.context, line.batch) for line in lines] == [(32, 1), (32, 2), (64, 1), (64, 2)]
    assert all(line.native > 0 and line.compressed > 0 and line.compressed_bytes < line.native_bytes for line in lines)
    assert lines[0].text.count("|") == 9
