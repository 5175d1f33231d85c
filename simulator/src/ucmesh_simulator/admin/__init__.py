"""The admin API: seeding, inspecting and disturbing tenants. Never on the port of the Microsoft faces."""
