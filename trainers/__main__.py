"""`python -m trainers` is `tfstable`."""

from trainers.cli import main

main()
