"""Paired comparison of runs on the images that they share."""
