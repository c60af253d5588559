"""The people who have an account: who they are, not how they prove it."""
