"""What the graph adapter decides, without any IO: templates, the state machine that runs them, capabilities,
fairness.
"""
