"""Training: supervised fine-tuning with Lightning in processes of its own."""
