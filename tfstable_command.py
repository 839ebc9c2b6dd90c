"""Where `tfstable` and `python -m trainers` start: above both packages, so that it runs when another one hides them."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _refuse_foreign_packages() -> None:
    """Names what is imported in place of one of our packages, and ends the process with status 2."""
    ours = Path(__file__).resolve().parent
    for name in ("tfstable", "trainers"):
        spec = find_spec(name)
        if spec and spec.origin and Path(spec.origin).resolve().parent != ours / name:
            print(
                f"error: {spec.origin} hides tfstable's own package {name} ({ours / name}); rename it, or keep its "
                "directory off PYTHONPATH and out of the directory that you start in",
                file=sys.stderr,
            )
            sys.exit(2)


_refuse_foreign_packages()
from trainers.cli.app import main  # noqa: E402  (not before it is known whose `trainers` that is)

__all__ = ["main"]
