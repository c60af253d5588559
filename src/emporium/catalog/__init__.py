"""What is for sale, and for how much."""
