"""The Teams face: users, numbers, policies."""
