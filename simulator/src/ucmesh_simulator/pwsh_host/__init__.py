"""The simulated PowerShell host: the gateway's session protocol without PowerShell. Binds parameters by the same facts
the stub modules are generated from and acts on the simulator over the same HTTP."""
