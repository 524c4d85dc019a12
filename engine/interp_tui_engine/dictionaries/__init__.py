"""Sparse dictionaries (SAEs): architectures, their training on any stream of activations, and their files.

Dimension suffixes, here and in every file of this folder: B batch, D input width, M latents, N active entries of a batch.
"""
