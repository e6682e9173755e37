"""The program `hybrid-assets`, and `python -m hybrid_assets`: the command line in a process of its own.

Belongs here: what a process must be told before anything is imported. Does not: commands (cli.py).
"""

import atexit
import gc


def main() -> None:
    """Run the command line, and look for garbage rarely, among what is new alone, and not once more on the way out.

    Nearly all objects are modules and definitions, which stay until the end: looking at them takes seconds of a run.
    """
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
    from hybrid_assets.cli import main as command_line

    gc.freeze()
    command_line()


if __name__ == "__main__":
    main()
