"""`crem export`: a trained model as a folder that needs nothing of this repository."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eval.components import COMPONENTS
from launchers.options import DEFAULT_WORK, SETTINGS

if TYPE_CHECKING:
    from pipeline.export import Form
    from pipeline.model.device import Dtype


@click.command()
@click.option("--run-id", help="Run of the train stage, as the MLflow UI shows it.")
@click.option(
    "--model", type=click.Path(path_type=Path), help="Checkpoint, train folder, export or model folder, instead of a run."
)
@click.option(
    "--recipe", help="Recipe of a bare model folder, or of one with classes of your own: NAME, file.py:fn or recipe.json."
)
@SETTINGS
@COMPONENTS
@click.option("--work", type=click.Path(path_type=Path), default=DEFAULT_WORK, help="Work folder, for its store of runs.")
@click.option("--form", type=click.Choice(["merged", "adapter"]), default="merged", help="A whole model, or a PEFT adapter.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", help="Number type of a whole model.")
@click.option("--tokens", type=int, help="Of its compression tokens the first so many; all, where it is left out.")
@click.option("--register", "registered", metavar="NAME", help="Make it the next version of this MLflow model; needs --run-id.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("exported"), help="New folder to write.")
def export(out: Path, form: "Form", dtype: "Dtype", tokens: int | None, registered: str | None, **which: Any) -> None:
    """Write a trained model for use outside of this repository.

    "merged" is an ordinary Hugging Face folder: adapters folded in, the compression rows in the table. "adapter" is a PEFT
    folder for the model folder it was trained on. Both get their recipe, the tokenizer, picture settings and embedding.json,
    which says how embeddings are made. Every command takes them by --model, sentence-transformers loads them by its
    trust_remote_code, and docs/export.md has the lines for plain transformers.

    \b
    Examples:
      crem export --model work/train --out exported
      crem export --run-id RUN_ID --form adapter --out adapter
      crem export --model work/train --tokens 4 --out exported_4
      crem export --run-id RUN_ID --register crem-2b
    """
    from eval.subject import find_subject
    from pipeline import export as exporter

    if registered and not which["run_id"]:
        raise click.UsageError("--register: a registered model belongs to the run that trained it; name it with --run-id")
    subject = find_subject(**which)
    exporter.export(subject.folder, out, form=form, recipe=subject.recipe, dtype=dtype, tokens=tokens)
    click.echo(f"exported: {out}")
    if registered:
        from pipeline.tracking import default_uri, register

        run_id, tags = which["run_id"], {"crem.form": form, "crem.dtype": dtype}
        version = register(default_uri(which["work"]), registered, out, run_id=run_id, tags=tags)
        click.echo(f"registered: models:/{registered}/{version}")
