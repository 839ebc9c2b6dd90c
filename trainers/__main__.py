"""`python -m trainers` is `tfstable`."""

from tfstable_command import main

main()
