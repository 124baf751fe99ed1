"""Mutants of exports: what is written, what reads it back, and what other libraries make of it."""

from tests.mutants.mutant import Mutant

_EXPORT, _EXPORTED = "tests/pipeline/test_export.py", "tests/pipeline/test_exported.py"
_OTHER = "tests/pipeline/test_sentence_transformers.py"
_SAME = f"{_EXPORTED}::test_an_export_is_its_checkpoint_from_anywhere"
_READER, _MODULE = "pipeline/exported.py", "pipeline/chorus_input.py"


def _in(file: str, test: str) -> tuple[str]:
    return (f"{file}::{test}",)


MUTANTS = (
    Mutant(
        "an export begins with fresh compression rows",
        _READER,
        'trained |= {"bank.rows": rows} if chorus else {}',
        'trained |= {"bank.rows": embedder.bank.rows.detach()} if chorus else {}',
        (f"{_SAME}[adapters merged]",),
    ),
    Mutant(
        "an export's pooling begins anew",
        _READER,
        "if (self.path / POOLING).is_file():",
        "if False:",
        (f"{_SAME}[MLP and mean]",),
    ),
    Mutant(
        "missing trained weights are let pass",
        "pipeline/train/build.py",
        "sorted(trained - set(weights)) + sorted(set(weights) - set(own))",
        "sorted(set(weights) - set(own))",
        _in(_EXPORTED, "test_a_checkpoint_that_lacks_a_trained_weight_is_refused"),
    ),
    Mutant(
        "an export read as a bare model folder",
        "pipeline/inference.py",
        "elif (path / SETTINGS).is_file():",
        "elif False:",
        (f"{_SAME}[adapters merged]",),
    ),
    Mutant(
        "another recipe for an export is passed over",
        "pipeline/inference.py",
        "refuse_differences(path, opened.recipe, recipe or opened.recipe)",
        "pass",
        _in(_EXPORTED, "test_a_recipe_that_agrees_is_taken_and_another_refused_by_its_field"),
    ),
    Mutant(
        "changed files of an export accepted",
        _READER,
        "if stated.get(name) != found.get(name)]",
        "if name not in found]",
        _in(_EXPORTED, "test_a_file_that_is_lost_or_changed_is_refused_by_name"),
    ),
    Mutant(
        "another prompt of an export accepted",
        _READER,
        "if Prompt.of(builder, self.recipe) != self.settings.prompt:",
        "if False:",
        _in(_EXPORTED, "test_another_prompt_than_was_trained_is_refused"),
    ),
    Mutant(
        "any folder in the base's place is the base",
        _READER,
        "if folder_digests(place) == settings.base_files:",
        "if True:",
        _in(_EXPORTED, "test_an_adapter_without_its_base_is_refused"),
    ),
    Mutant(
        "an adapter's base is looked for where it was alone",
        _READER,
        "Path(os.path.normpath(path.resolve() / settings.base_beside))",
        "Path(settings.base)",
        _in(_EXPORTED, "test_an_adapter_finds_the_base_that_moved_with_it"),
    ),
    Mutant(
        "untrained tokens are not said",
        "pipeline/inference.py",
        'fingerprint=f"{untrained} {model.fingerprint}".strip()',
        "fingerprint=model.fingerprint",
        _in(_EXPORTED, "test_a_result_of_a_bare_model_folder_says_so"),
    ),
    Mutant(
        "a bare model folder warns of nothing",
        "pipeline/inference.py",
        "        if model.untrained:\n",
        "        if False:\n",
        _in(_EXPORTED, "test_a_result_of_a_bare_model_folder_says_so"),
    ),
    Mutant(
        "compression tokens are named one place off",
        "pipeline/model/backbone.py",
        "behind = range(len(tokenizer), max(ids, default=-1) + 1)",
        "behind = range(len(tokenizer) + 1, max(ids, default=-1) + 1)",
        (f"{_EXPORT}::test_chat_templates_come_along",),
    ),
    Mutant(
        "a user's text spells compression tokens",
        "pipeline/model/backbone.py",
        "AddedToken(name, special=True, normalized=False) for name in names.values()], special_tokens=True)",
        "AddedToken(name, special=False, normalized=False) for name in names.values()], special_tokens=False)",
        _in(_EXPORTED, "test_compression_ids_have_names_that_a_user_s_text_cannot_spell"),
    ),
    Mutant(
        "a text in sentence-transformers spells special tokens",
        _MODULE,
        "add_special_tokens=False, split_special_tokens=True)",
        "add_special_tokens=False)",
        (f"{_OTHER}::test_it_makes_our_vectors[adapters merged]",),
    ),
    Mutant(
        "sentence-transformers pools the padding",
        _MODULE,
        'ends, count = features["attention_mask"].sum(dim=1)',
        'ends, count = torch.full_like(features["attention_mask"].sum(dim=1), states.shape[1])',
        (f"{_OTHER}::test_it_makes_our_vectors[adapters merged]",),
    ),
    Mutant(
        "a turned picture in sentence-transformers",
        _MODULE,
        "rgb(upright(picture)) for picture in pictures",
        "rgb(picture) for picture in pictures",
        (f"{_OTHER}::test_it_makes_our_vectors[adapters merged]",),
    ),
    Mutant(
        "an export without its input module",
        "pipeline/export.py",
        '        "modules.json": _MODULES,\n',
        "",
        _in(_OTHER, "test_without_trust_there_is_an_error_and_nothing_is_saved_untrained"),
    ),
    Mutant(
        "a changed export in sentence-transformers",
        _MODULE,
        " or _digest(folder / name) != digest",
        "",
        _in(_OTHER, "test_folders_that_are_not_what_was_exported_are_refused"),
    ),
    Mutant(
        "an adapter's scale forgotten in sentence-transformers",
        _MODULE,
        'config["lora_alpha"] / config["r"] * (up @ down)',
        "(up @ down)",
        (f"{_OTHER}::test_it_makes_our_vectors[as an adapter]",),
    ),
    Mutant(
        "EOS start takes the turn's start token",
        "pipeline/train/build.py",
        "folder.vocabulary(ids).im_end, generator",
        "folder.vocabulary(ids).im_start, generator",
        _in("tests/pipeline/model/test_compression.py", "test_rows_that_start_as_eos_stand_around_the_tokenizer_s_own_end_token"),
    ),
)
