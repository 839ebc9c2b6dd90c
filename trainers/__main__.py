"""`python -m trainers` is `tfstable`."""

from trainers.cli.app import main

main()
