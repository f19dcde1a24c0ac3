"""The command line: one module a command, loaded when it is used; every error is one sentence and an exit code.

Exit codes: 0 done · 1 failed · 2 usage · 69 no microphone · 75 something still waits · 77 credential · 78 config.
"""

from agent.cli.root import main

__all__ = ["main"]
