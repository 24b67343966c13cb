"""Builds networks: backbones, weights, groups and freezing."""
