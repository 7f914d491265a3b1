"""Every decision, as a pure function of state, inputs and the time."""
