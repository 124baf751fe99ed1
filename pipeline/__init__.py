"""The library: typed, importable, runs on a CPU.

Shapes in docstrings use one legend: B rows of a batch, T tokens of a packed row, D hidden size, V vocabulary, E embeddings of a
global batch, Q pairs, H hard negatives a pair, K compression tokens, S supervised tokens, I images, P patches, W ranks.
"""
