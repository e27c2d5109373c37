"""Adapters for frameworks of agents and evaluations. Each is imported by its own name, and needs the extra of that
name."""
