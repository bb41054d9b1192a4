# Tests of all packages that need a terminal say `from tests.terminal import Terminal`.
from tests.terminal.emulator import Terminal as Terminal
