"""What a person sees in the terminal while a run is under way: one line an asset, and its progress.

A Dagster logger. Belongs here: how events look. Does not: what happens (Dagster), or its full record (the UI).
"""

import logging
import os
import sys
import time

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class _RunLines(logging.Handler):
    """Shows the steps of an in-process run: the one at work with its last message, then how it ended."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        # Dagster sends the process's own stderr into its files while steps run; this one stays the terminal
        terminal = open(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")  # noqa: SIM115 (open as long as the run)
        self.console = Console(file=terminal, highlight=False)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self.live = Progress(*columns, console=self.console, transient=True)
        self.task = self.live.add_task("", start=False)
        self.started = time.monotonic()
        self.cached = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show one log record."""
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        step = (meta.get("step_key") or "").replace("__", "/")
        if event is None:
            self._message(step, record)
        elif event.event_type_value == "STEP_START":
            self.started, self.cached = time.monotonic(), False
            if self.console.is_terminal:
                self.live.reset(self.task, description=step)
                self.live.start()
        elif event.event_type_value == "ASSET_MATERIALIZATION":
            cached = event.materialization.metadata.get("cached")
            self.cached = bool(cached and cached.value)
        elif event.event_type_value == "STEP_SUCCESS":
            took = "unchanged" if self.cached else f"{time.monotonic() - self.started:.1f} s"
            self._line(f"[{'dim' if self.cached else 'green'}]✓ {step:<34} {took}")
        elif event.event_type_value == "STEP_FAILURE":
            self._line(f"[red]✗ {step}")
        elif event.event_type_value == "STEP_SKIPPED":
            self._line(f"[yellow]- {step:<34} skipped: an input is missing")

    def _message(self, step: str, record: logging.LogRecord) -> None:
        text = str(getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()))
        if text.startswith("Dependencies for step"):
            return  # one for each asset behind one that failed: they are counted when all is over
        text = text.removeprefix(f"{step}: ")
        if record.levelno >= logging.WARNING:
            self._line(f"[yellow]! {step}: {escape(text)}")
        elif self.console.is_terminal:
            self.live.update(self.task, description=escape(f"{step}: {text}"))
        elif not self.cached and text != "unchanged, nothing computed":
            self.console.print(f"  {step}: {text}", markup=False)

    def _line(self, text: str) -> None:
        if self.console.is_terminal:
            self.live.stop()
        self.console.print(text)


@dg.logger(config_schema={}, description="One line an asset, for people at a terminal.")
def terminal_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """The logger `hybrid-assets run` and `backfill` use."""
    logger = logging.Logger("hybrid_assets", logging.DEBUG)
    logger.addHandler(_RunLines())
    return logger
