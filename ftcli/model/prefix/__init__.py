"""The frozen part of a network: traced, split, cut off and computed fast."""
