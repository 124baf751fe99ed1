"""A small corpus in memory and a small recipe: what the tests of model and training run on."""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.batch import OWN, Row
from pipeline.data.shards import RowInfo
from pipeline.losses.language import KLToUncompressed, NextToken
from pipeline.model.compression import Chorus
from pipeline.negatives import InFile
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder, Vocabulary
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.token_counts import Ruler, ensure_lengths

WORDS = "red blue green circle square star top left right bottom what where is the a picture of".split()
TEXTS = [" ".join(WORDS), *WORDS, "Represent the given image."] * 4
SMALL = TinyBackbone(
    hidden=32, layers=2, heads=4, kv_heads=2, feed_forward=64, vocab_size=600, tower_dim=32, tower_layers=2, tower_heads=2
)


def small_recipe(**phase: object) -> Recipe:
    """The tiny recipe with the paper's language loss, at a size that a test can afford; keywords replace fields of its phase."""
    tiny = load("tiny")
    joint = tiny.phase
    mixture = replace(joint.mixture, pairs=8, sub_batch=4, outside=4, weights=())
    optimizer = replace(joint.optimizer, learning_rate=1.5e-3)
    fields = {"steps": 6, "mixture": mixture, "held_out": 4, "chunk_tokens": 400, "kept_chunks": 0, "zero_stage": 0}
    fields |= {"language": NextToken(), "language_weight": 0.5, "optimizer": optimizer}
    joint = replace(joint, **(fields | phase))
    return replace(tiny, backbone=SMALL, tokens=Chorus(count=4, start="random"), phases=(joint,))


def variant(name: str, **phase: object) -> Recipe:
    """The small recipe as one of the mixtures that the training step must not tell apart."""
    recipe = small_recipe(**phase)
    joint = recipe.phase
    mixtures = {
        "joint": joint.mixture,
        "answers": replace(joint.mixture, pairs=0),
        "retrieval": replace(joint.mixture, outside=0, own_sides=()),
        "together": joint.mixture,
        "elastic": joint.mixture,
        "distilled": joint.mixture,
    }
    recipe = replace(recipe, tokens=replace(recipe.tokens, elastic=(1, 3, 4))) if name == "elastic" else recipe
    language = KLToUncompressed() if name == "distilled" else NextToken(groups="together" if name == "together" else "apart")
    negatives = InFile(most={"retrieval": 2, "together": 1}.get(name, 0))
    return recipe.with_phase(language=language, mixture=mixtures[name], negatives=negatives)


def sentence(rng: np.random.Generator, least: int = 2, most: int = 7) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(least, most)))


def picture(rng: np.random.Generator, width: int = 56, height: int = 56) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def random_row(
    builder: SequenceBuilder,
    rng: np.random.Generator,
    *,
    slot: int = 0,
    compressed: bool = True,
    num_images: int | None = None,
    num_turns: int | None = None,
) -> Row:
    """A row with random pictures, words and turns."""
    num_images = int(rng.integers(0, 3)) if num_images is None else num_images
    num_turns = int(rng.integers(0, 3)) if num_turns is None else num_turns
    sizes = [(int(rng.integers(2, 4)) * 28, int(rng.integers(2, 4)) * 28) for _ in range(num_images)]
    pixels = tuple(rng.integers(0, 255, (3, height, width), dtype=np.uint8) for height, width in sizes)
    markers = " ".join(f"{sentence(rng)} <|image_{n + 1}|>" for n in range(num_images))
    side = Side(text=f"{markers} {sentence(rng)}", images=(b"",) * num_images)
    turns = [Turn(question=sentence(rng), answer=sentence(rng)) for _ in range(num_turns)]
    grids = np.array([(1, height // 14, width // 14) for height, width in sizes])
    return Row(
        key=str(slot), sequence=builder.build(side, grids, turns), pixels=pixels, compressed=compressed, slot=slot, loss_group=OWN
    )


class MemoryIndex:
    """The reader's interface over a list of samples. Sizes of pictures are looked at once, as the index of shards has them."""

    fingerprint = "memory"
    max_pixels: int | None = None

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.sizes = [tuple(Image.open(io.BytesIO(data)).size for side in s.sides for data in side.images) for s in samples]
        self.datasets: dict[str, list[int]] = {}
        for row, sample in enumerate(samples):
            self.datasets.setdefault(sample.dataset, []).append(row)

    def __len__(self) -> int:
        return len(self.samples)

    def broken(self, *keys: str) -> "MemoryIndex":
        """The same rows, where the first picture of those with the given keys does not decode."""
        for row, sample in enumerate(self.samples):
            if sample.key in keys:
                self.samples[row] = replace(sample, query=replace(sample.query, images=(b"broken", *sample.query.images[1:])))
        return self

    def kind(self, dataset: str) -> str:
        return "conversations" if self.samples[self.datasets[dataset][0]].positive is None else "pairs"

    def shard(self, row: int) -> Path:
        return Path(self.samples[row].dataset) / "00000.tar"

    def read(self, row: int) -> Sample:
        return self.samples[row]

    def texts(self, row: int) -> Sample:
        return self.samples[row]

    def info(self, row: int) -> RowInfo:
        sample = self.samples[row]
        return RowInfo(key=sample.key, dataset=sample.dataset, text_bytes=len(sample.query.text), image_sizes=self.sizes[row])


class MemoryQa:
    """Every side is asked one question about itself, or as many as it is told."""

    fingerprint = "memory"

    def __init__(self, num_turns: int = 1) -> None:
        self.num_turns = num_turns

    def shares(self, dataset: str) -> dict[str, tuple[int, int]]:
        return {"query": (1, 1), "positive": (1, 1)}

    def turns(self, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        rng = np.random.default_rng(sum(map(ord, dataset + side)) * 1000 + int(key.split("-")[-1]))
        return tuple(Turn(question=sentence(rng), answer=sentence(rng)) for _ in range(self.num_turns))


def qa_of(recipe: Recipe) -> MemoryQa:
    """What a recipe's last phase is given: a question a side, or a dialogue of three turns."""
    return MemoryQa(3 if recipe.phase.target.needs == "dialogue" else 1)


def measured(index: MemoryIndex, recipe: Recipe, vocabulary: Vocabulary) -> Corpus:
    """The index as training sees it, with questions and lengths."""
    builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
    with tempfile.TemporaryDirectory() as folder:
        ruler = Ruler(builder=builder, pixels=recipe.pixels)
        lengths = ensure_lengths(Path(folder) / "table.parquet", index, ruler, lambda done, total: None)  # type: ignore[arg-type]
    return Corpus(index=index, qa=qa_of(recipe), lengths=lengths)  # type: ignore[arg-type]


def corpus(num_rows: int = 24, seed: int = 0) -> MemoryIndex:
    """Two datasets of pairs and one of conversations; pairs of the first have pictures and 0 to 3 hard negatives."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    samples = []
    for number in range(num_rows):
        image = Side(text="<|image_1|>\nwhat is the picture", images=(picture(rng),))
        negatives = tuple(Side(text=sentence(other), images=(picture(other),) * (n % 2)) for n in range(number % 4))
        positive = Side(text=sentence(rng))
        key = f"pictures-{number}"
        samples.append(Sample(key=key, dataset="pictures", query=image, positive=positive, negatives=negatives))
    for number in range(num_rows):
        text = Side(text=sentence(rng, 3, 9))
        samples.append(Sample(key=f"texts-{number}", dataset="texts", query=text, positive=Side(text=sentence(rng))))
    for number in range(num_rows):
        turns = tuple(Turn(question=sentence(rng), answer=sentence(rng)) for _ in range(int(rng.integers(1, 3))))
        samples.append(Sample(key=f"talks-{number}", dataset="talks", query=Side(images=(picture(rng),), turns=turns)))
    return MemoryIndex(samples)
