"""The ssh-compatible front: what programs that call ssh expect of it. Knows options, files and names; runs nothing itself."""
