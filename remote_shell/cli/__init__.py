"""The command line: what people type. Nothing is imported here, since every start passes through; imported by nobody."""
