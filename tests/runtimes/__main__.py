"""Run every model under every runtime that is here, and write docs/runtimes.md; ten minutes.

    python -m tests.runtimes

Exits with 1 where something is further apart than it may be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .agreement import agreement
from .models import FORMS, MODELS, expected, fed_to, instrumented
from .runners import RUNNERS, MissingError
from .table import Line, page

PAGE = Path(__file__).parents[2] / "docs" / "runtimes.md"


def main() -> int:
    """Run all, say how it goes on stderr, and write the page."""
    versions, missing = {}, {}
    for name, runner in RUNNERS.items():
        try:
            versions[name] = runner.version()
        except MissingError as reason:
            missing[name] = str(reason)
    lines = []
    for name in MODELS:
        wanted = expected(name)
        for runtime in versions:
            # the reference evaluator takes a minute for a slow model, and knows one kind of form
            alone = MODELS[name].slow and runtime == "reference"
            for form in ("frozen",) if alone else FORMS:
                made = instrumented(name, form, RUNNERS[runtime].deployed)
                try:
                    results = RUNNERS[runtime].run(made.model, fed_to(made, name, form))
                    found = agreement(results, wanted[form], made.manifest)
                except RuntimeError as error:
                    found = f"fails: {str(error).strip().splitlines()[-1]}"
                lines.append(Line(runtime, name, form, found))
                print(runtime, name, form, found, file=sys.stderr, flush=True)
    order = list(versions)
    lines.sort(key=lambda line: order.index(line.runtime))
    PAGE.write_text(page(lines, versions, missing))
    failed = [line for line in lines if line.failed]
    for line in failed:
        print("out of bounds:", line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
