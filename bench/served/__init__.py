"""What runs inside the measured servers."""
