"""Elastic tokens: CREM with one model of many numbers of compression tokens. Ours: the paper trains one model a number (Table 4).

Causality gives it nearly free: the first k tokens never see the later ones, so a row of 64 tokens holds the embedding and the
cache of every k up to 64. The numbers are ours; all other values are crem_2b's.
"""

from dataclasses import replace

from pipeline.recipe import Recipe
from pipeline.recipes.crem import crem_2b


def crem_2b_elastic() -> Recipe:
    """CREM's objective at 4, 16 and 64 tokens of the same forward pass: InfoNCE as the mean over them, answers at one drawn."""
    base = crem_2b()
    return replace(
        base,
        name="crem_2b_elastic",
        summary="crem_2b of 4, 16 and 64 chorus tokens in one model: contrasted at each, asked at one drawn for each row",
        # Four to 64 is where the paper's Table 4 still moves; its own 16 stands between.
        tokens=replace(base.tokens, count=64, elastic=(4, 16, 64)),
    )
