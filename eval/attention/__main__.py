"""`python -m eval.attention`: what compression tokens look at, of several checkpoints side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eval.attention.looks import ModelLooks, Shown, looks_of
from eval.attention.page import write_figure
from eval.components import COMPONENTS
from eval.subject import Subject, find_subject, one_line_errors, show_progress
from pipeline.data.picture_preparer import MAX_DECODED_PIXELS, PicturePreparer
from pipeline.data.pictures import MAX_PICTURE_BYTES
from pipeline.data.reject import RowError
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, DataError
from pipeline.sample import Side

if TYPE_CHECKING:
    from pipeline.inference import EmbeddingModel


def shown_pictures(images: tuple[Path, ...], text: str, shards: Path, rows: tuple[int, ...]) -> list[Shown]:
    """Picture files with a text, and the sides with pictures of rows of shards. Raises DataError for what cannot be shown."""
    found = [Shown(name=path.name, side=Side(text=text, images=(_picture(path),))) for path in images]
    if rows:
        index = ShardIndex.open(shards)
        found += [each for row in rows for each in _of_row(index, shards, row)]
        index.close()
    if not found:
        raise ConfigError("nothing to look at: name picture files with --image, or rows of the shards with --row")
    return found


def _picture(path: Path) -> bytes:
    """A picture file as shards would hold it, upright. Raises DataError."""
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise DataError(f"--image {path}: larger than {MAX_PICTURE_BYTES // 2**20} MiB; name another picture")
        return PicturePreparer(max_pixels=MAX_DECODED_PIXELS)(path.read_bytes())
    except RowError as error:
        raise DataError(f"--image {path}: {error}; name another picture") from error
    except OSError as error:
        raise DataError(f"--image {path}: cannot be read ({error.strerror}); name a picture file") from error


def _of_row(index: ShardIndex, shards: Path, row: int) -> Iterator[Shown]:
    """The row's query and positive, where they have pictures."""
    if row >= len(index):
        raise DataError(f"--row {row}: {shards} holds {len(index)} rows, 0 to {len(index) - 1}")
    sample = index.read(row)
    sides, dataset = {"query": sample.query, "positive": sample.positive}, sample.dataset if sample.positive else ""
    found = [
        Shown(name=f"{sample.key}, {name}", side=side, dataset=dataset, is_query=name == "query")
        for name, side in sides.items()
        if side and side.images
    ]
    if not found:
        raise DataError(f"--row {row}: {sample.key} has no picture; name another row")
    yield from found


def _loaded(subject: Subject) -> "EmbeddingModel":
    """The model with adapters merged."""
    from pipeline.merged import load_merged  # brings torch in
    from pipeline.model.device import usual_place

    device, dtype = usual_place(subject.device, subject.dtype)
    return load_merged(subject.folder, recipe=subject.recipe, device=device, dtype=dtype)


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Checkpoint, train folder, export, or with --recipe a model folder; several stand side by side.",
)
@click.option("--recipe", help="Recipe of a bare model folder: NAME, file.py:fn or recipe.json.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a value of the recipe that --recipe names.")
@COMPONENTS
@click.option("--layer", type=click.IntRange(0), help="Layer of the language model, counted from 0. Default: the middle one.")
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Picture to look at: JPEG, PNG, WebP, GIF, BMP or TIFF; may be given several times.",
)
@click.option("--text", default="", help="Words beside the pictures of --image. Default: what the recipe says to bare pictures.")
@click.option("--row", "rows", type=click.IntRange(0), multiple=True, help="Row of the shards, counted from 0, instead.")
@click.option("--shards", type=click.Path(path_type=Path), help="Shards of --row. Default: <work>/shards.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True, help="Work folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the page and the figures. Default: <work>/attention.")
@click.option("--device", help="Where the models run, as torch names it. Default: cuda where there is a GPU, else cpu.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="Number type. Default: bfloat16 on a GPU, float32 on a CPU."
)
def main(
    checkpoints: tuple[Path, ...],
    layer: int | None,
    images: tuple[Path, ...],
    text: str,
    rows: tuple[int, ...],
    shards: Path | None,
    out: Path | None,
    **given: Any,
) -> None:
    """Show which compression token looks at which part of a picture, in one layer, of several checkpoints side by side.

    Writes attention.html, and the figures as attention.json and attention.csv:

        python -m eval.attention --checkpoint runs/a/train --checkpoint runs/b/train --layer 14 --image cat.jpg --out shown
    """
    with one_line_errors():
        subjects = [find_subject(run_id=None, model=checkpoint, **given) for checkpoint in checkpoints]
        shown = shown_pictures(images, text, shards or given["work"] / "shards", rows)
        out = out or given["work"] / "attention"
        out.mkdir(parents=True, exist_ok=True)  # before the models are read
        looks: list[ModelLooks] = []
        for checkpoint, subject in zip(checkpoints, subjects, strict=True):
            looks.append(looks_of(_loaded(subject), str(checkpoint), shown, layer))
            show_progress("models", len(looks), len(checkpoints))
        for path in write_figure(looks, shown, out):
            click.echo(f"written: {path}")


if __name__ == "__main__":
    main()
