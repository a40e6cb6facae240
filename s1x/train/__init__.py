"""Training: supervised fine-tuning with Lightning in processes of its own."""

from s1x.train.stage import run as run
