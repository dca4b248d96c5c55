"""The durable record of what was decided: what is in it, and the chain that shows whether anybody touched it. Pure."""
