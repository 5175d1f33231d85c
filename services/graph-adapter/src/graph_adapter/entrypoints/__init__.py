"""How work comes in: messages, HTTP requests, and the workers' own rhythm."""
