"""What a program calls: `blocking` and `async_` connect, the rest is shared by both. Imports nothing by itself."""
