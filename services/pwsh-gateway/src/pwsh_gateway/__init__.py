"""The only place that runs Teams and Exchange Online cmdlets."""
