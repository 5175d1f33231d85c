"""The outside world behind the domain's ports: the database, Microsoft Graph, template files, the outbox."""
