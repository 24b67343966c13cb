"""The recipe: its keys and defaults, reading and overriding it, and what is wrong with it."""
