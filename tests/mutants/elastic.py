"""Several numbers of tokens in one model."""

from tests.mutants.mutant import Mutant

_ELASTIC = "tests/pipeline/train/test_elastic.py"

MUTANTS = (
    Mutant(
        "the last k tokens instead of the first",
        "pipeline/model/embedder.py",
        "self.pooling(pooled[:, :count])",
        "self.pooling(pooled[:, -count:])",
        (f"{_ELASTIC}::test_embeddings_of_k_tokens_are_those_of_a_recipe_of_k_tokens",),
    ),
    Mutant(
        "only all tokens are contrasted",
        "pipeline/train/step.py",
        "taken.owners) for each in at_counts]",
        "taken.owners) for each in at_counts[-1:]]",
        (f"{_ELASTIC}::test_cached_gradients_of_all_numbers_equal_the_full_batch",),
    ),
    Mutant(
        "fewer tokens and the rows of all",
        "pipeline/model/embedder.py",
        '"bank": self.bank.first(count)}',
        '"bank": TokenBank(self.bank.rows.detach().flip(0)[:count], self.bank.ids.start)}',
        (f"{_ELASTIC}::test_a_trained_model_embeds_with_any_number_of_its_tokens",),
    ),
    Mutant(
        "fewer tokens by the name of all",
        "pipeline/inference.py",
        'fingerprint=f"{count} tokens of {self.fingerprint}"',
        "fingerprint=self.fingerprint",
        (f"{_ELASTIC}::test_a_trained_model_embeds_with_any_number_of_its_tokens",),
    ),
    Mutant(
        "answers read the tokens beyond theirs",
        "pipeline/spans.py",
        "return seen | {UNREAD} if reads_them else seen",
        "return seen | {UNREAD} if Role.COMPRESSION in seen else seen",
        (f"{_ELASTIC}::test_answers_of_k_tokens_are_those_of_a_recipe_of_k_tokens", "tests/pipeline/test_spans.py"),
    ),
    Mutant(
        "answers of fewer tokens stand behind all",
        "pipeline/sequence.py",
        "out[:, behind:] -= self.unread",
        "out[:, behind:] -= 0",
        (f"{_ELASTIC}::test_answers_of_k_tokens_are_those_of_a_recipe_of_k_tokens",),
    ),
    Mutant(
        "questions are asked of all tokens alone",
        "pipeline/train/dataloader/step_dataset.py",
        'return int(generator("tokens", *words).choice(tokens.elastic))',
        "return tokens.count",
        (f"{_ELASTIC}::test_a_question_is_asked_of_one_number_of_tokens",),
    ),
    Mutant(
        "held-out questions are asked of a drawn number of tokens",
        "pipeline/train/dataloader/step_dataset.py",
        "or not planned.asks or step < 0:",
        "or not planned.asks:",
        (f"{_ELASTIC}::test_a_question_is_asked_of_one_number_of_tokens",),
    ),
    Mutant(
        "held-out figures of the fewest tokens",
        "pipeline/train/held_out.py",
        "outputs.embeddings[:, -1] if",
        "outputs.embeddings[:, 0] if",
        (f"{_ELASTIC}::test_held_out_figures_are_those_of_all_tokens",),
    ),
    Mutant(
        "an export of fewer tokens holds all",
        "pipeline/export.py",
        "load_model(path, recipe=recipe, tokens=tokens)",
        "load_model(path, recipe=recipe)",
        (f"{_ELASTIC}::test_an_export_of_k_tokens_embeds_as_they_do",),
    ),
    Mutant(
        "scores of one number of tokens are forecast",
        "pipeline/train/forecast/forecast.py",
        "max(1, len(recipe.tokens.elastic))",
        "1",
        (f"{_ELASTIC}::test_the_forecast_counts_scores_and_answers_of_all_numbers",),
    ),
    Mutant(
        "a forecast embeds rows once",
        "pipeline/train/forecast/trace.py",
        "backbone.family.cutter({}, backbone.model.config), recipe.tokens.elastic)",
        "backbone.family.cutter({}, backbone.model.config))",
        (f"{_ELASTIC}::test_the_forecast_counts_scores_and_answers_of_all_numbers",),
    ),
    Mutant(
        "a forecast's answers see all tokens",
        "pipeline/train/forecast/assumed_rows.py",
        "unread = self._unread if answer and slot >= 0 else 0",
        "unread = 0",
        (f"{_ELASTIC}::test_the_forecast_counts_scores_and_answers_of_all_numbers",),
    ),
    Mutant(
        "all tokens are measured under each number's name",
        "jobs/evaluate.py",
        "trained, tokens=count))",
        "trained))",
        ("tests/jobs/test_evaluate.py::test_elastic_tokens_are_measured_at_each_of_their_numbers",),
    ),
    Mutant(
        "fewer tokens are asked natively too",
        "jobs/evaluate.py",
        "modes = self.modes if model.label == TRAINED else",
        "modes = self.modes if True else",
        ("tests/jobs/test_evaluate.py::test_elastic_tokens_are_measured_at_each_of_their_numbers",),
    ),
    Mutant(
        "each number of tokens has the answers of all",
        "jobs/summary.py",
        "folders = {count: evaluation / FEWER.format(count) for",
        "folders = {count: evaluation / TRAINED for",
        ("tests/jobs/test_summary.py",),
    ),
    Mutant(
        "each number of tokens has the line of all",
        "benchmarks/methods.py",
        "_precision(place) for",
        "_precision(folder) for",
        ("tests/benchmarks/test_methods.py",),
    ),
)
