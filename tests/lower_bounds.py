"""Prints the oldest releases that setup.cfg allows, for `pip install --constraint` (`make test BOUNDS=lower`)."""

import configparser
import re
from pathlib import Path

config = configparser.ConfigParser()
config.read(Path(__file__).parents[1] / "setup.cfg")
for line in config["options"]["install_requires"].splitlines():
    if line and not line.startswith("#"):
        name, bound = re.match(r"([\w.-]+)>=([\d.]+)", line).groups()
        print(f"{name}=={bound}")
