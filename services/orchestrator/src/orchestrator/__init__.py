"""Customers, rules, profiles, numbers; plans and their execution; intake and public API."""
