"""Stage `synthesize`: what the recipe's phases learn about the sides of pairs, by questions and answers."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep import scene_server
from data_prep.qa_drawn import drawn
from data_prep.qa_filters import RULES
from data_prep.qa_kinds import QA, Kind
from data_prep.qa_prompts import read_prompts
from data_prep.qa_sample import Sample, forecast, sides_left, take_sample
from data_prep.qa_sheet import write_sheet
from data_prep.qa_teacher import LocalTeacher, ServedTeacher, Teacher, addresses, refuse_both
from data_prep.slices import Slice
from data_prep.synthesize_qa import synthesize, synthesize_slice
from data_prep.toy_world import FACTS
from jobs.defaults import MAX_UNANSWERED, TEACHER
from jobs.stage import Context, Input, Result, Writing
from pipeline.data.qa import KINDS, QaKind, QaTable
from pipeline.errors import ConfigError
from pipeline.manifest import fingerprint
from pipeline.recipe import Recipe
from pipeline.tracking import Tracker


def kinds_needed(recipe: Recipe, there: Iterable[QaKind] = KINDS) -> tuple[QaKind, ...]:
    """The kinds of synthesized turns that the targets of the recipe's phases learn, of those that are made.

    Raises ConfigError for one that is not among them.
    """
    needed, names = {phase.needs for phase in recipe.phases if phase.needs}, tuple(there)
    if unknown := needed - set(names):
        raise ConfigError(
            f"target.needs: no synthesis makes {', '.join(sorted(unknown))}; there are {', '.join(names)}; --prompts may add one"
        )
    return tuple(kind for kind in names if kind in needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizeStage:
    """Asks a vision-language model; over the toy world a loopback server that knows the scenes stands in for it.

    `url` are addresses and files of addresses, `local` is a model of this process in their place. Without either, and away from
    the toy world, only sides without pictures get a turn. What is asked follows from the recipe; for one that asks pairs nothing
    nothing is made, and what lies there stays as it is, so that what was trained beside it is not trained again. `prompts` is a
    file of the user's own wordings and kinds. `most_pictures` of each dataset are asked about, where it is about pictures; None:
    all. `answer_tokens` None: each kind has its own. `workers` None: calls in flight as
    each endpoint takes them.
    """

    context: Context
    url: tuple[str, ...] = ()
    local: LocalTeacher | None = None
    model: str = TEACHER
    workers: int | None = None
    answer_tokens: int | None = None
    prompts: Path | None = None
    most_pictures: int | None = None
    max_unanswered: float = MAX_UNANSWERED
    name: str = "synthesize"
    writing: Writing = Writing.KEEP

    def __post_init__(self) -> None:
        """Raises ConfigError for two teachers."""
        refuse_both(self.url, self.local)

    @property
    def folder(self) -> Path:
        """Side files, joined to the shards by key, and the journal of answers."""
        return self.context.qa

    def inputs(self) -> Mapping[str, Input]:
        """The shards."""
        return {"shards": Input(path=self.context.shards, made_by="convert")}

    def settings(self) -> Mapping[str, object]:
        """Who answers, what is asked and which answers are learnt; of kind `qa` as they are, of others under their names.

        The address is a matter of the machine; whether there is one is not.
        """
        settings: dict[str, object] = {} if self._kinds else {"kinds": ()}
        for kind in self._kinds:
            settings |= self._settings_of(kind) if kind.name == "qa" else {kind.name: self._settings_of(kind)}
        return settings

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Ask, kind after kind, and write the side files."""
        counts: dict[str, int] = {}
        with self._asked() as teacher:
            for kind in map(self._drawn, self._kinds):
                told = self._synthesize(kind, out, teacher)
                counts |= told if kind.name == "qa" else {f"{kind.name}_{name}": number for name, number in told.items()}
        content = {kind.name: QaTable.open(out, kind.name).fingerprint for kind in self._kinds or (QA,)}
        return Result(counts=counts, content=content["qa"] if set(content) == {"qa"} else fingerprint(content))

    def run_slice(self, part: Slice) -> dict[str, int]:
        """Ask about one slice of the sides. No manifest is written and no lock taken: others may be at work there."""
        teacher = self._chosen
        if teacher is None:
            raise ConfigError("--shard-index: nothing is asked without --url or --local")
        counts: dict[str, int] = {}
        for kind in map(self._drawn, self._kinds):
            told = synthesize_slice(
                self.context.shards, self.folder, part, teacher=teacher, kind=kind, progress=self._reporter(kind)
            )
            counts |= {f"{kind.name} {name}": number for name, number in told.items()}
        return counts

    def sample(self, count: int, sheet: Path | None, price: tuple[float, float] | None) -> list[str]:
        """Ask about `count` sides of each kind, and say what the rest will take; with them as an HTML file, where one is named.

        The answers are kept. No manifest is written. Raises ConfigError where there is nothing to ask, or nobody.
        """
        samples, lines = dict[str, Sample](), dict[str, list[str]]()
        with self._asked() as teacher:
            if teacher is None or not self._kinds:
                why = "by this recipe" if teacher else "without --url or --local"
                raise ConfigError(f"--sample, --dry-run: nothing is asked {why}")
            for kind in map(self._drawn, self._kinds):
                shards = self.context.shards
                samples[kind.name] = take_sample(shards, self.folder, count, teacher=teacher, kind=kind)
                left = sides_left(shards, self.folder, teacher=teacher, kind=kind, progress=self._reporter(kind))
                lines[kind.name] = list(forecast(samples[kind.name], left, price))
        if sheet:
            write_sheet(sheet, samples, lines)
        return [f"{kind}: {line}" for kind, said in lines.items() for line in said]

    @property
    def _kinds(self) -> list[Kind]:
        kinds = read_prompts(self.prompts)
        return [kinds[name] for name in kinds_needed(self.context.recipe, kinds)]

    def _drawn(self, kind: Kind) -> Kind:
        return drawn(kind, self.context.shards, None if kind.texts else self.most_pictures, self._reporter(kind))

    def _settings_of(self, kind: Kind) -> dict[str, object]:
        most = {"most_pictures": self.most_pictures} if self.most_pictures and not kind.texts else {}
        return {
            **kind.wording,
            **most,
            "teacher": self._teacher,
            "answer_tokens": self.answer_tokens or kind.max_tokens,
            "filters": fingerprint(RULES),
        }

    def _synthesize(self, kind: Kind, out: Path, teacher: Teacher | None) -> dict[str, int]:
        return synthesize(
            self.context.shards,
            out,
            teacher=teacher,
            kind=kind,
            max_unanswered=self.max_unanswered,
            progress=self._reporter(kind),
        )

    def _reporter(self, kind: Kind) -> Callable[[int, int, str], None]:
        return lambda done, total, what: self.context.progress("synthesize", done, total, f"{kind.name}: {what}")

    def _served(self, urls: tuple[str, ...]) -> ServedTeacher:
        return ServedTeacher(urls=addresses(urls), model=self._teacher, answer_tokens=self.answer_tokens, workers=self.workers)

    @property
    def _facts(self) -> Path:
        return self.context.data / FACTS

    @property
    def _teacher(self) -> str:
        """Name of the model that answers; empty where there is none."""
        if self.local:
            return self.local.model
        if self.url:
            return self.model
        return scene_server.MODEL_NAME if self._facts.is_file() else ""

    @property
    def _chosen(self) -> Teacher | None:
        """Whom the user names."""
        return self.local or (self._served(self.url) if self.url else None)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Teacher | None]:
        """Who is asked: whom the user names, the toy world's server for as long as it is needed, or nobody."""
        if self.url or self.local or not self._kinds or not self._facts.is_file():
            yield self._chosen
            return
        with scene_server.serve(self._facts) as url:
            yield self._served((url,))
