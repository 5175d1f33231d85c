"""A simulated Microsoft 365: token endpoint, Graph, Teams and Exchange cmdlets."""
