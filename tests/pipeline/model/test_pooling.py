"""Poolings against their definitions."""

import numpy as np
import torch

from pipeline.model.pooling import LastToken, MeanOver
from pipeline.roles import Role

ROLES = np.array([0, 1, 1, 2, 2, 2, 3, 4], dtype=np.int8)


def test_mean_over_the_compression_tokens() -> None:
    assert MeanOver(Role.COMPRESSION).positions(ROLES).tolist() == [3, 4, 5]
    states = torch.arange(12.0).reshape(1, 3, 4)
    assert MeanOver()(states).tolist() == [[4.0, 5.0, 6.0, 7.0]]


def test_last_token_of_the_context() -> None:
    assert LastToken(Role.CONTEXT).positions(ROLES).tolist() == [2]
    assert LastToken()(torch.arange(4.0).reshape(1, 1, 4)).tolist() == [[0.0, 1.0, 2.0, 3.0]]
