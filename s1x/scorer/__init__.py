"""What scores steps of reasoning traces: reward models, judges; one file each."""
