"""What a channel can ask for: one file a request. The table of them is in `sessions`."""
