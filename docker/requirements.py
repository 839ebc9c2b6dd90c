"""Prints what tfstable needs, for `pip install -r`, with another distribution of TensorFlow in TensorFlow's place.

python requirements.py tensorflow-cpu
python requirements.py tensorflow-tpu==2.19.1
"""

import configparser
import sys

distribution = sys.argv[1]
config = configparser.ConfigParser()
config.read("setup.cfg")
for line in config["options"]["install_requires"].splitlines():
    if line.startswith("tensorflow>"):
        print(distribution if "==" in distribution else line.replace("tensorflow", distribution))
    elif line and not line.startswith("#"):
        print(line)
