"""What a trained model owes to each of its features: `tfstable explain`."""
