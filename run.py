"""The command line of s1x: `python run.py +experiment=s1k`. `python run.py --help` explains it."""

from s1x.app import main

if __name__ == "__main__":
    raise SystemExit(main())
