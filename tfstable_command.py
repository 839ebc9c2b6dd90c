"""Where `tfstable` and `python -m trainers` start: above both packages, so that it runs when another one hides them."""

import sys
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).resolve().parent


def main() -> None:
    """Runs the command line, or names what is imported in place of one of our packages, with status 2."""
    for name in ("tfstable", "trainers"):
        spec = find_spec(name)
        if spec and spec.origin and Path(spec.origin).resolve().parent != OURS / name:
            print(
                f"error: {spec.origin} hides tfstable's own package {name} ({OURS / name}); rename it, or keep its "
                "directory off PYTHONPATH and out of the directory that you start in",
                file=sys.stderr,
            )
            sys.exit(2)
    from trainers.cli.app import main

    main()
