"""What `--recipe` and `--set` name becomes a Recipe: one of ours, a function of the user's own file, or a stored JSON file."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FunctionType, ModuleType

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_from_json
from pipeline.recipes import load


def resolve(source: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe that `source` names, with settings `path.to.field=value` applied.

    `source` is a name of `pipeline.recipes.RECIPES`, `my_recipe.py:fn` (a function without arguments that returns a Recipe), or
    a JSON file as every stage leaves one (`recipe.json`). Raises ConfigError, in one line, for whatever is wrong with it.
    """
    path, _, function = source.partition(".py:")
    if function:
        found = _from_file(Path(f"{path}.py"), function)
    elif source.endswith(".json"):
        found = _from_json(Path(source))
    elif source.endswith((".py", ".py:")):
        raise ConfigError(f"--recipe {source}: name the function too, as in {source.rstrip(':')}:my_recipe")
    else:
        found = load(source)
    return override(found, settings)


def _from_json(path: Path) -> Recipe:
    try:
        return recipe_from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--recipe {path}: {error.strerror}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"--recipe {path}: {error}") from error


def _from_file(path: Path, name: str) -> Recipe:
    """Call the function `name` of a user's file. Its recipe goes through JSON once, so that a checkpoint can say it again."""
    module = run_file(path)
    function = _function(module, path, name)
    with _mistakes_of(path):
        made = function()
    if not isinstance(made, Recipe):
        raise ConfigError(f"--recipe {path}:{name}: returns {type(made).__name__}, not a Recipe of pipeline.recipe")
    try:
        return recipe_from_json(canonical_json(made))
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"--recipe {path}:{name}: {error}") from error


def component_files(recipe: Recipe) -> list[Path]:
    """The files that another process must run before it reads the recipe's JSON: those of a user's classes that it holds.

    Where some come from a module that such a file imported, these are all files that were run.
    """
    own = {type(part).__module__ for part in _parts(recipe) if not type(part).__module__.startswith("pipeline.")}
    files = [name for name in sys.modules if name.endswith(".py") and Path(name).is_absolute()]
    return [Path(name) for name in files if name in own or not own <= set(files)]


def _parts(value: object) -> Iterator[object]:
    """All dataclasses in a value, itself included."""
    if isinstance(value, tuple):
        for each in value:
            yield from _parts(each)
    elif is_dataclass(value):
        yield value
        for item in fields(value):
            yield from _parts(getattr(value, item.name))


def run_file(path: Path, option: str = "--recipe") -> ModuleType:
    """Run a user's file, so that its classes are known. Raises ConfigError, naming the option, file and line."""
    if not path.is_file():
        raise ConfigError(f"{option} {path}: no such file")
    with _mistakes_of(path, option):
        return _module(path)


def _module(path: Path) -> ModuleType:
    """Run the file, as the module of its path's name. Like a script, it may import the files beside it."""
    spec = importlib.util.spec_from_file_location(str(path.resolve()), path)
    assert spec is not None and spec.loader is not None, "a name that ends with .py has a loader"
    module = importlib.util.module_from_spec(spec)
    # It stays there: its components are those of the file that was read last, and look up their annotations in it.
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _function(module: ModuleType, path: Path, name: str) -> Callable[[], object]:
    found = getattr(module, name, None)
    if not callable(found):
        own = [
            each
            for each, value in vars(module).items()
            if isinstance(value, FunctionType) and value.__module__ == module.__name__
        ]
        raise ConfigError(f"--recipe {path}:{name}: no function {name!r} in it; there are {', '.join(own) or 'none'}")
    function: Callable[[], object] = found
    return function


@contextmanager
def _mistakes_of(path: Path, option: str = "--recipe") -> Iterator[None]:
    """Turn any exception of the user's file into one line with file and line number; imports find the file's folder."""
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{option} {path}{_line_in(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{option} {path}{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path[:] = before


def _line_in(path: Path, error: BaseException) -> str:
    """`:12` for the deepest line of the file that the error passed, or where its syntax is wrong."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    own = [line for file, line in lines if Path(file).resolve() == path.resolve()]
    return f":{own[-1]}" if own else ""
