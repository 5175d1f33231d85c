"""The only place that speaks to Microsoft Graph."""
