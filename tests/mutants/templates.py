"""Instructions by dataset: who has which, where they reach, and what names them."""

from tests.mutants.mutant import Mutant

TEMPLATES = "tests/pipeline/test_templates.py"
FILES = "tests/pipeline/test_template_file.py"
ROWS = "tests/pipeline/train/dataloader/test_worded_rows.py"
SIDES = "tests/eval/test_worded_sides.py"
RECIPES = "tests/pipeline/test_recipe_json.py"
_VALUE, _FILE = "pipeline/templates.py", "pipeline/template_file.py"
_LENGTHS = "pipeline/train/dataloader/token_counts.py"

MUTANTS = (
    Mutant(
        "templates: the default where a dataset has its own",
        _VALUE,
        "for name in _tables_of(dataset) for each in self.instructions if each.of == name), None)",
        "for name in reversed(_tables_of(dataset)) for each in self.instructions if each.of == name), None)",
        (f"{TEMPLATES}::test_the_nearest_instruction_counts", f"{TEMPLATES}::test_token_ids_worked_by_hand"),
    ),
    Mutant(
        "templates: a candidate has the query's instruction",
        _VALUE,
        "_worded(side, self.candidate_template, found.candidate)",
        "_worded(side, self.candidate_template, found.query)",
        (f"{TEMPLATES}::test_token_ids_worked_by_hand",),
    ),
    Mutant(
        "templates: a query has the candidate's template",
        _VALUE,
        "_worded(side, self.query_template, found.query)",
        "_worded(side, self.candidate_template, found.query)",
        (f"{TEMPLATES}::test_token_ids_worked_by_hand",),
    ),
    Mutant(
        "templates: a row's own instruction stays behind the file's",
        _VALUE,
        'own = "".join(marker[0] for marker in IMAGE_MARKER.finditer(side.instruction)) + side.text',
        "own = side.instruction + side.text",
        (f"{TEMPLATES}::test_pictures_and_own_words_have_their_places",),
    ),
    Mutant(
        "templates: pictures among the words are taken out of them",
        _VALUE,
        "if numbers not in ([], every) or IMAGE_MARKER.search(words):",
        "if numbers not in ([], every):",
        (f"{TEMPLATES}::test_pictures_and_own_words_have_their_places",),
    ),
    Mutant(
        "templates: a side without an instruction has the template's words",
        _VALUE,
        'template.removesuffix(TEXT)) if instruction else ""',
        "template.removesuffix(TEXT))",
        (f"{TEMPLATES}::test_without_an_instruction_pictures_and_words_stand_alone",),
    ),
    Mutant(
        "templates: a misspelt key of a file is passed over",
        _FILE,
        "if name not in _SIDES:",
        "if not name:",
        (FILES,),
    ),
    Mutant(
        "templates: a template of a file is not looked at for its places",
        _FILE,
        "if fault := fault_of_template(text):",
        "if fault := text[:0]:",
        (FILES,),
    ),
    Mutant(
        "templates: applied in training and not in evaluation",
        "eval/retrieval_set.py",
        "shown = ALIASES.get(self.dataset, self.dataset), self.preset or templates",
        "shown = ALIASES.get(self.dataset, self.dataset), self.preset or Templates()",
        (SIDES,),
    ),
    Mutant(
        "templates: applied in evaluation and not in training",
        "pipeline/train/dataloader/step_dataset.py",
        "return self.recipe.templates.sample(self.corpus.index.read(row))",
        "return self.corpus.index.read(row)",
        (SIDES, f"{ROWS}::test_rows_of_two_datasets_are_those_worked_by_hand"),
    ),
    Mutant(
        "templates: candidates that a reranker is trained on stand as their rows have them",
        "pipeline/train/dataloader/step_dataset.py",
        "candidates = [self._sample(row).sides[side]",
        "candidates = [self.corpus.index.read(row).sides[side]",
        (f"{ROWS}::test_what_a_reranker_compares_is_worded_on_both_sides",),
    ),
    Mutant(
        "templates: rows are counted as they stand",
        _LENGTHS,
        "self.templates.sample(index.texts(row))",
        "index.texts(row)",
        (f"{ROWS}::test_rows_of_two_datasets_are_those_worked_by_hand",),
    ),
    Mutant(
        "templates: a table of lengths knows nothing of them",
        _LENGTHS,
        "shapes += [ruler.templates] if ruler.templates.instructions else []",
        "shapes += []",
        (f"{ROWS}::test_tables_of_lengths_are_named_by_what_is_said",),
    ),
    Mutant(
        "templates: a recipe's name does not depend on what they say",
        "pipeline/recipe_json.py",
        "if _ONCE_UNSAID.get(name) != value})",
        'if _ONCE_UNSAID.get(name) != value and name != "templates"})',
        (f"{RECIPES}::test_what_is_said_names_a_recipe_wherever_the_file_lies",),
    ),
    Mutant(
        "templates: recipes without instructions have another name than before",
        "pipeline/recipe_json.py",
        '_ONCE_UNSAID = {"vision": {"type": "KeepAll"}, **_UNSAID}',
        '_ONCE_UNSAID = {"vision": {"type": "KeepAll"}}',
        (f"{RECIPES}::test_a_recipe_without_instructions_is_named_as_before_there_were_any",),
    ),
    Mutant(
        "templates: finished trainings without instructions are made anew",
        "pipeline/recipe_json.py",
        "for name, value in course_values(recipe).items() if _UNSAID.get(name) != value}",
        "for name, value in course_values(recipe).items()}",
        (f"{RECIPES}::test_finished_stages_of_recipes_without_instructions_stay_finished",),
    ),
    Mutant(
        "templates: lengths that were measured do not depend on them",
        "jobs/measure.py",
        'templates = {"templates": recipe.templates} if recipe.templates.instructions else {}',
        "templates: dict[str, object] = {}",
        ("tests/jobs/test_measure.py",),
    ),
    Mutant(
        "templates: mining reads queries as their rows have them",
        "data_prep/negatives/candidates.py",
        "sample = templates.sample(index.read(row))",
        "sample = index.read(row)",
        ("tests/data_prep/negatives/test_mining.py::test_queries_that_are_worded_the_same_are_one",),
    ),
    Mutant(
        "templates: mining embeds sides as their rows have them",
        "jobs/mine.py",
        "return self.templates.sample(self.index.read(int(self.rows[number]))).sides[self.side]",
        "return self.index.read(int(self.rows[number])).sides[self.side]",
        ("tests/jobs/test_mine.py::test_sides_are_mined_as_training_words_them",),
    ),
    Mutant(
        "templates: what an untrained model mines by does not depend on them",
        "jobs/mine.py",
        '**({"templates": recipe.templates} if recipe.templates.instructions else {}),',
        "",
        ("tests/jobs/test_mine.py::test_sides_are_mined_as_training_words_them",),
    ),
    Mutant(
        "templates: a reranker reads sides in the embedder's words",
        "eval/reranking.py",
        "found = [templates.candidate(eval_set.candidates[pool[place]], self.dataset) for place in places]",
        "found = [eval_set.candidates[pool[place]] for place in places]",
        ("tests/eval/test_reranking.py::test_embedder_and_reranker_each_read_a_set_in_their_own_words",),
    ),
    Mutant(
        "templates: captions and pictures stand as they are",
        "eval/cross_domain_set.py",
        "how = self.preset or templates",
        "how = self.preset or Templates()",
        ("tests/eval/test_cross_domain.py::test_captions_and_pictures_are_worded_as_mmebs_own",),
    ),
    Mutant(
        "templates: texts to write out are read as they stand",
        "eval/reconstruct.py",
        "contexts = [chosen[place].shown(model.templates) for place in batch]",
        "contexts = [chosen[place].side for place in batch]",
        ("tests/eval/test_reconstruct.py::test_texts_are_read_in_the_models_words",),
    ),
    Mutant(
        "templates: an export's prompts are those of the other side",
        _VALUE,
        '("document", self.candidate_template, each.candidate)',
        '("document", self.query_template, each.query)',
        ("tests/pipeline/test_sentence_transformers.py::test_prompts_are_the_instructions_of_training",),
    ),
    Mutant(
        "templates: pictures come first in an export whatever its prompt says",
        "pipeline/chorus_input.py",
        "(prompt.replace(PICTURES, markers) + words).strip()",
        '(prompt.replace(PICTURES, "") + words).strip()',
        ("tests/pipeline/test_sentence_transformers.py::test_prompts_are_the_instructions_of_training",),
    ),
    Mutant(
        "templates: a run does not say who is told what",
        "pipeline/train/run_header.py",
        "for name in sorted(drawn) if templates.instructions else ():",
        "for name in ():",
        ("tests/pipeline/train/dataloader/test_mixture.py::test_who_is_told_what_is_said_by_table",),
    ),
    Mutant(
        "templates: rows to look at stand as they are",
        "eval/attention/looks.py",
        "conversation_context(shown.worded(model.templates), model.builder.layout)",
        "conversation_context(shown.side, model.builder.layout)",
        ("tests/eval/attention/test_command.py::test_rows_are_read_in_the_models_words_and_files_as_they_are",),
    ),
)
