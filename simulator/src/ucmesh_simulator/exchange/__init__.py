"""The Exchange face: mailboxes and their client access settings."""
