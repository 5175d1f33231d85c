"""What a credential is and what comes next for it; imports no framework."""
