"""The wheel's packages; all else about the project stands in pyproject.toml.

`conf/` stands at the top of the repository, where it is read and edited, and is shipped as
`s1x/conf` (its `sweep` is a link to `sweeps/`).
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["s1x", "s1x.*", "s1x_puzzles", "s1x_puzzles.*"]), "s1x.conf"],
    package_dir={"s1x.conf": "conf"},
)
