"""Instructions by dataset: who has which, where they reach, and what names them."""

from tests.mutants.mutant import Mutant

TEMPLATES = "tests/pipeline/test_templates.py"
FILES = "tests/pipeline/test_template_file.py"
_VALUE, _FILE = "pipeline/templates.py", "pipeline/template_file.py"

MUTANTS = (
    Mutant(
        "templates: the default where a dataset has its own",
        _VALUE,
        "return next((found[name] for name in names if name in found), None)",
        "return next((found[name] for name in reversed(names) if name in found), None)",
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
        "templates: what an instruction says is taken for a place",
        _VALUE,
        "return _PLACE.sub(lambda place: values[place[0]], template)",
        "return template.replace(INSTRUCTION, values[INSTRUCTION]).replace(PICTURES, values[PICTURES])",
        (f"{TEMPLATES}::test_a_place_in_an_instruction_is_a_word_of_it",),
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
)
