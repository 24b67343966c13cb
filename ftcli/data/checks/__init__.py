"""The checks of `ftcli check` and of training; `table.py` lists them all."""
