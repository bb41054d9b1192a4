"""The person's own terminal: which modes programs left on, raw mode, and a clean exit."""
