"""The programs of the folder above, with their comments in Chinese; the code is the same."""
