"""Mutants of open kinds: which classes of whose files are components of a recipe."""

from tests.mutants.mutant import Mutant

_COMPONENTS, _TYPED = "pipeline/components.py", "pipeline/typed.py"
_KINDS = ("tests/pipeline/test_components.py",)
_OWN = ("tests/pipeline/recipes/test_own_components.py",)
_METHOD = ("tests/launchers/test_own_method.py", "-m", "not slow")

MUTANTS = (
    Mutant("a class that lacks a method is a component", _COMPONENTS, "if lacking:", "if not lacking and lacking:", _KINDS),
    Mutant(
        "a class whose own fields are forgotten is a component",
        _COMPONENTS,
        "if not is_own or not",
        "if not",
        _KINDS,
    ),
    Mutant(
        "a component may change", _COMPONENTS, "if not is_own or not cls.__dataclass_params__.frozen:", "if not is_own:", _KINDS
    ),
    Mutant("components stand right under their base alone", _COMPONENTS, "yield from _below(each)", "pass", _KINDS),
    Mutant(
        "a file that was read before keeps its classes",
        _COMPONENTS,
        "return found is cls",
        "return True",
        (*_KINDS, *_OWN),
    ),
    Mutant("of two classes of a name the first is taken", _TYPED, "if len(found) > 1:", "if not found:", _KINDS),
    Mutant(
        "a user's file is forgotten once it was run",
        "pipeline/recipes/source.py",
        "    except BaseException:\n        del sys.modules[module.__name__]\n        raise\n",
        "    finally:\n        del sys.modules[module.__name__]\n",
        _OWN,
    ),
    Mutant(
        "ranks do not get the files of a user's classes",
        "pipeline/recipes/source.py",
        "for name in files if name in own or not own <= set(files)]",
        "for name in files if not own <= set(files)]",
        _METHOD,
    ),
    Mutant(
        "a user's class below the recipe's own fields is not seen",
        "pipeline/recipes/source.py",
        "            yield from _parts(each)",
        "            yield each",
        _METHOD,
    ),
    Mutant(
        "files of --components are not run",
        "eval/components.py",
        'run_file(file, "--components")',
        "pass",
        _METHOD,
    ),
    Mutant(
        "an adapter may add weights that no export holds",
        "pipeline/model/adapters.py",
        """if name.replace(".base_layer.", ".") not in before and""",
        "if not before and",
        ("tests/pipeline/model/test_adapters.py",),
    ),
    Mutant(
        "an own adapter passes for LoRA in an export",
        "pipeline/export.py",
        "if not isinstance(adapter, LoRA):",
        "if isinstance(adapter, Full):",
        ("tests/pipeline/test_export.py",),
    ),
    Mutant(
        "an export pools as the mean what is a user's own",
        "pipeline/embedding_json.py",
        "if pooling not in POOLED_BY_OTHERS:",
        "if not pooling:",
        ("tests/pipeline/test_export.py",),
    ),
)
