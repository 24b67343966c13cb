"""Reads image folders: datasets, splits, decoding, transforms and loaders."""
