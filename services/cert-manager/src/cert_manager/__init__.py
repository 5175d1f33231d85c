"""Certificates of the app registrations, from birth to rotation."""
