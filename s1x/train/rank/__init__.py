"""What runs in a rank's own process: Lightning module, loss, attention, checkpoints, export."""
