"""The login face: token endpoint, discovery, client assertions, access tokens."""
