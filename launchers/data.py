"""`crem data`: looking at a corpus."""

import click

from launchers.show import show


@click.group()
def data() -> None:
    """Look at a corpus as training reads it.

    \b
    Example:
      crem data show --recipe tiny --work work --step 17
    """


data.add_command(show)
