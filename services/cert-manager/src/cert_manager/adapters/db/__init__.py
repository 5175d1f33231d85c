"""The rows of cert-manager."""
